package file

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/federator/federator/federation/catalog"
)

// The bounds and defaults of a health check.
const (
	minInterval, maxInterval, defaultInterval = 100 * time.Millisecond, 5 * time.Minute, 2 * time.Second
	minTimeout, maxTimeout, defaultTimeout    = 10 * time.Millisecond, time.Minute, time.Second
	maxThreshold, defaultThreshold            = 10, 2
)

// check reads a health check of a service with the given ports. It returns nil
// where there is none or it has no kind.
func (r *reader) check(n *yaml.Node, ports []catalog.Port) *catalog.Check {
	c := &catalog.Check{
		Interval: defaultInterval, Timeout: defaultTimeout,
		HealthyThreshold: defaultThreshold, UnhealthyThreshold: defaultThreshold,
	}
	kind := func(k catalog.CheckKind) field {
		return field{string(k), false, func(n *yaml.Node) { r.checkKind(n, c, k) }}
	}
	threshold := func(n *yaml.Node) int { return r.integer(n, "threshold", 1, maxThreshold) }
	r.object(n, "check", []field{
		kind(catalog.CheckHTTP), kind(catalog.CheckTCP), kind(catalog.CheckGRPC),
		{"interval", false, func(n *yaml.Node) { c.Interval = r.duration(n, "interval", minInterval, maxInterval) }},
		{"timeout", false, func(n *yaml.Node) { c.Timeout = r.duration(n, "timeout", minTimeout, maxTimeout) }},
		{"healthyThreshold", false, func(n *yaml.Node) { c.HealthyThreshold = threshold(n) }},
		{"unhealthyThreshold", false, func(n *yaml.Node) { c.UnhealthyThreshold = threshold(n) }},
	})
	if n.Kind != yaml.MappingNode {
		return nil
	}
	r.checkMakesSense(n, c, ports)
	return c
}

// checkKind reads the part of a check that is named for its kind.
func (r *reader) checkKind(n *yaml.Node, c *catalog.Check, kind catalog.CheckKind) {
	if c.Kind != "" {
		r.fail(n, "check: both %s and %s are given, expected one", c.Kind, kind)
		return
	}
	c.Kind = kind
	fields := []field{{"port", false, func(n *yaml.Node) { c.Port = r.text(n, "check port") }}}
	switch kind {
	case catalog.CheckHTTP:
		c.Path = "/"
		fields = append(fields,
			field{"path", false, func(n *yaml.Node) { c.Path = parsed(r, n, "check path", parsePath) }},
			field{"host", false, func(n *yaml.Node) { c.Host = parsed(r, n, "check host", parseHost) }})
	case catalog.CheckGRPC:
		fields = append(fields, field{"service", false, func(n *yaml.Node) { c.Service = r.text(n, "check service") }})
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // "tcp:" alone means the first port
	}
	r.object(n, string(kind)+" check", fields)
}

func (r *reader) checkMakesSense(n *yaml.Node, c *catalog.Check, ports []catalog.Port) {
	if c.Kind == "" {
		r.fail(n, "check: expected one of http, tcp or grpc")
	}
	if c.Timeout > 10*c.Interval && c.Interval > 0 {
		r.fail(n, "check: timeout %v is more than ten intervals of %v", c.Timeout, c.Interval)
	}
	p, ok := portNamed(ports, c.Port)
	switch {
	case !ok && c.Port == "":
		r.fail(n, "check: the service has no port to check")
	case !ok:
		r.fail(n, "check: the service has no port %q", clip(c.Port))
	case p.Protocol != catalog.TCP:
		r.fail(n, "check: port %q is %s, expected a TCP port", p.Name, p.Protocol)
	}
}

func parsePath(s string) (string, error) {
	if !strings.HasPrefix(s, "/") || strings.ContainsFunc(s, notVisible) {
		return "", fmt.Errorf("check path %q: expected a path that begins with / and has no blanks", clip(s))
	}
	return s, nil
}

func parseHost(s string) (string, error) {
	if s == "" || len(s) > 261 || strings.ContainsAny(s, "/?#@") || strings.ContainsFunc(s, notVisible) {
		return "", fmt.Errorf("check host %q: expected a host name, with a port if needed", clip(s))
	}
	return s, nil
}

func notVisible(c rune) bool { return c <= ' ' || c > '~' }
