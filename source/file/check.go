package file

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/strictyaml"
)

// The bounds and defaults of a health check.
const (
	minInterval, maxInterval, defaultInterval = 100 * time.Millisecond, 5 * time.Minute, 2 * time.Second
	minTimeout, maxTimeout, defaultTimeout    = 10 * time.Millisecond, time.Minute, time.Second
	maxThreshold, defaultThreshold            = 10, 2
)

// check reads a health check of a service with the given ports. It returns nil
// where there is none or it has no kind.
func (r *reader) check(n *yaml.Node, at string, ports []catalog.Port) *catalog.Check {
	c := &catalog.Check{
		Interval: defaultInterval, Timeout: defaultTimeout,
		HealthyThreshold: defaultThreshold, UnhealthyThreshold: defaultThreshold,
	}
	kind := func(k catalog.CheckKind) strictyaml.Field {
		return strictyaml.Optional(string(k), func(n *yaml.Node, at string) { r.checkKind(n, at, c, k) })
	}
	r.Fields(n, at, []strictyaml.Field{
		kind(catalog.CheckHTTP), kind(catalog.CheckTCP), kind(catalog.CheckGRPC),
		strictyaml.Optional("interval", func(n *yaml.Node, at string) { c.Interval = r.duration(n, at, minInterval, maxInterval) }),
		strictyaml.Optional("timeout", func(n *yaml.Node, at string) { c.Timeout = r.duration(n, at, minTimeout, maxTimeout) }),
		strictyaml.Optional("healthyThreshold", func(n *yaml.Node, at string) { c.HealthyThreshold = r.integer(n, at, 1, maxThreshold) }),
		strictyaml.Optional("unhealthyThreshold", func(n *yaml.Node, at string) { c.UnhealthyThreshold = r.integer(n, at, 1, maxThreshold) }),
	})
	if n.Kind != yaml.MappingNode {
		return nil
	}
	r.checkMakesSense(n, c, ports)
	return c
}

// checkKind reads the part of a check that is named for its kind.
func (r *reader) checkKind(n *yaml.Node, at string, c *catalog.Check, kind catalog.CheckKind) {
	if c.Kind != "" {
		r.Fail(n, "check: both %s and %s are given, expected one", c.Kind, kind)
		return
	}
	c.Kind = kind
	fields := []strictyaml.Field{strictyaml.Optional("port", func(n *yaml.Node, at string) { c.Port = r.scalar(n, at) })}
	switch kind {
	case catalog.CheckHTTP:
		c.Path = "/"
		fields = append(fields,
			strictyaml.Optional("path", func(n *yaml.Node, at string) { c.Path = strictyaml.Parsed(r.Reader, n, at, parsePath) }),
			strictyaml.Optional("host", func(n *yaml.Node, at string) { c.Host = strictyaml.Parsed(r.Reader, n, at, parseHost) }))
	case catalog.CheckGRPC:
		fields = append(fields, strictyaml.Optional("service", func(n *yaml.Node, at string) { c.Service = r.scalar(n, at) }))
	}
	if strictyaml.IsNull(n) {
		return // "tcp:" alone means the first port
	}
	r.Fields(n, at, fields)
}

func (r *reader) checkMakesSense(n *yaml.Node, c *catalog.Check, ports []catalog.Port) {
	if c.Kind == "" {
		r.Fail(n, "check: expected one of http, tcp or grpc")
	}
	if c.Timeout > 10*c.Interval && c.Interval > 0 {
		r.Fail(n, "check: timeout %v is more than ten intervals of %v", c.Timeout, c.Interval)
	}
	p, ok := portNamed(ports, c.Port)
	switch {
	case !ok && c.Port == "":
		r.Fail(n, "check: the service has no port to check")
	case !ok:
		r.Fail(n, "check: the service has no port %q", strictyaml.Clip(c.Port))
	case p.Protocol != catalog.TCP:
		r.Fail(n, "check: port %q is %s, expected a TCP port", p.Name, p.Protocol)
	}
}

func parsePath(s string) (string, error) {
	if !strings.HasPrefix(s, "/") || strings.ContainsFunc(s, notVisible) {
		return "", fmt.Errorf("check path %q: expected a path that begins with / and has no blanks", strictyaml.Clip(s))
	}
	return s, nil
}

func parseHost(s string) (string, error) {
	if s == "" || len(s) > 261 || strings.ContainsAny(s, "/?#@") || strings.ContainsFunc(s, notVisible) {
		return "", fmt.Errorf("check host %q: expected a host name, with a port if needed", strictyaml.Clip(s))
	}
	return s, nil
}

func notVisible(c rune) bool { return c <= ' ' || c > '~' }
