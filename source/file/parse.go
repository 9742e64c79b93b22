package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/federator/federator/federation/catalog"
)

// The bounds of a services file.
const (
	MaxBytes     = 8 << 20
	MaxServices  = 20_000
	MaxEndpoints = 200_000 // over all services
	MaxPorts     = 64      // of one service
	MaxClients   = 4_096

	maxMistakes = 1_000
	maxText     = 1_024
)

// SourceName is what [catalog.EndpointSet.Source] says of sets from a file.
const SourceName = "file"

// Services is what a services file says.
type Services struct {
	Sets     []catalog.EndpointSet // ordered by service
	Prefixes []catalog.ClientPrefix
}

// Parse reads a services file for a cluster. The error is a [Mistakes] with
// everything that is wrong, or says that the file is too big. An empty file is
// valid and has no services.
func Parse(data []byte, cluster string) (Services, error) {
	if len(data) > MaxBytes {
		return Services{}, fmt.Errorf("%w: %d bytes, expected at most %d", errTooBig, len(data), MaxBytes)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return Services{}, nil
	} else if err != nil {
		return Services{}, syntaxMistake(err)
	}
	if err := decoder.Decode(&second); err == nil {
		return Services{}, Mistakes{{Line: second.Line, Column: second.Column, Reason: "a second YAML document; expected one"}}
	} else if !errors.Is(err, io.EOF) {
		return Services{}, syntaxMistake(err)
	}
	if len(doc.Content) == 0 {
		return Services{}, nil
	}
	var r reader
	s := r.services(doc.Content[0], cluster)
	if len(r.mistakes) > 0 {
		return Services{}, r.mistakes.sorted()
	}
	slices.SortFunc(s.Sets, func(a, b catalog.EndpointSet) int { return a.Service.Compare(b.Service) })
	return s, nil
}

func (r *reader) services(n *yaml.Node, cluster string) Services {
	var s Services
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return s
	}
	lines := map[catalog.ServiceName]int{}
	prefixes := map[netip.Prefix]bool{}
	r.object(n, "file", []field{
		{"clients", false, func(n *yaml.Node) {
			r.list(n, "clients", MaxClients, func(n *yaml.Node) {
				p := r.client(n)
				if prefixes[p.Prefix] && p.Prefix.IsValid() {
					r.fail(n, "client prefix %s is given twice", p.Prefix)
				}
				prefixes[p.Prefix] = true
				s.Prefixes = append(s.Prefixes, p)
			})
		}},
		{"services", false, func(n *yaml.Node) {
			r.list(n, "services", MaxServices, func(n *yaml.Node) {
				set := r.service(n)
				if line, twice := lines[set.Service]; twice && set.Service != (catalog.ServiceName{}) {
					r.fail(n, "service %s is given twice, first on line %d", set.Service, line)
				}
				lines[set.Service] = n.Line
				set.Cluster = cluster
				s.Sets = append(s.Sets, set)
			})
		}},
	})
	return s
}

func (r *reader) client(n *yaml.Node) (p catalog.ClientPrefix) {
	r.object(n, "client", []field{
		{"prefix", true, func(n *yaml.Node) { p.Prefix = parsed(r, n, "client prefix", parsePrefix) }},
		{"zone", false, func(n *yaml.Node) { p.Zone = r.label(n, "zone") }},
	})
	return p
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("client prefix %q: expected a network such as 10.1.0.0/16 or 2001:db8::/32", clip(s))
	}
	if p != p.Masked() {
		return p, fmt.Errorf("client prefix %q has bits set after its length; did you mean %s?", clip(s), p.Masked())
	}
	if p.Addr().Is4In6() {
		return p, fmt.Errorf("client prefix %q: write it as IPv4", clip(s))
	}
	return p, nil
}

func (r *reader) service(n *yaml.Node) catalog.EndpointSet {
	set := catalog.EndpointSet{Source: SourceName}
	portsSeen := false
	r.object(n, "service", []field{
		{"name", true, func(n *yaml.Node) { set.Service = parsed(r, n, "service name", catalog.ParseServiceName) }},
		{"headless", false, func(n *yaml.Node) { set.Headless = r.boolean(n, "headless") }},
		{"ports", false, func(n *yaml.Node) { portsSeen = true; set.Ports = r.ports(n) }},
		{"check", false, func(n *yaml.Node) { set.Check = r.check(n, set.Ports) }},
		{"endpoints", false, func(n *yaml.Node) { set.Endpoints = r.endpointList(n, &set) }},
	})
	if n.Kind == yaml.MappingNode && !portsSeen && !set.Headless {
		r.fail(n, "service %s: \"ports\" is missing; only a headless service can do without", set.Service)
	}
	return set
}

func (r *reader) label(n *yaml.Node, what string) string {
	return parsed(r, n, what, func(s string) (string, error) { return s, catalog.ValidateLabel(what, s) })
}
