package policyfile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/federator/federator/federation/catalog"
)

// reader turns YAML nodes into values and collects every mistake. It never
// follows aliases, so a small file cannot grow large.
type reader struct {
	mistakes []mistake
	broken   map[*yaml.Node]bool                  // what could not be read
	values   map[*yaml.Node]map[string]*yaml.Node // of the mappings, by key
}

func newReader() *reader {
	return &reader{broken: make(map[*yaml.Node]bool), values: make(map[*yaml.Node]map[string]*yaml.Node)}
}

// mistake is one thing that is wrong.
type mistake struct {
	line int
	err  error
}

func (r *reader) fail(n *yaml.Node, at, format string, args ...any) {
	r.broken[n] = true
	r.mistakes = append(r.mistakes, mistake{n.Line, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...))})
}

// sorted returns the mistakes from top to bottom.
func (r *reader) sorted() []error {
	slices.SortStableFunc(r.mistakes, func(a, b mistake) int { return a.line - b.line })
	var errs []error
	for _, m := range r.mistakes {
		errs = append(errs, fmt.Errorf("line %d: %w", m.line, m.err))
	}
	return errs
}

// brokenIn reports whether a node or one inside could not be read: what then
// seems wrong with its value may only follow from that.
func (r *reader) brokenIn(n *yaml.Node) bool {
	return r.broken[n] || slices.ContainsFunc(n.Content, r.brokenIn)
}

// locate follows keys and indexes down from a node, as far as they lead.
func (r *reader) locate(n *yaml.Node, path []string) *yaml.Node {
	for _, step := range path {
		next := r.values[n][step]
		if i, err := strconv.Atoi(step); err == nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
			next = n.Content[i]
		}
		if next == nil {
			break
		}
		n = next
	}
	return n
}

// spec reads the fields of a policy.
func (r *reader) spec(n *yaml.Node, at string, p *catalog.Policy) {
	r.fields(n, at, map[string]func(*yaml.Node, string){
		"regionOrder":     func(n *yaml.Node, at string) { p.RegionOrder = r.list(n, at, "regions") },
		"failoverRegions": func(n *yaml.Node, at string) { p.FailoverRegions = r.list(n, at, "regions") },
		"regionOrderFrom": func(n *yaml.Node, at string) {
			p.RegionOrderFrom = make(map[string][]string)
			r.entries(n, at, func(key, n *yaml.Node, at string) { p.RegionOrderFrom[key.Value] = r.list(n, at, "regions") })
		},
		"weights": func(n *yaml.Node, at string) {
			p.Weights = make(map[string]uint32)
			r.entries(n, at, func(key, n *yaml.Node, at string) { p.Weights[key.Value] = r.number(n, at) })
		},
		"overprovisioningPercent": func(n *yaml.Node, at string) { p.OverprovisioningPercent = r.number(n, at) },
		"panicThresholdPercent": func(n *yaml.Node, at string) {
			v := r.number(n, at)
			p.PanicThresholdPercent = &v
		},
		"ramp": func(n *yaml.Node, at string) { p.Ramp = r.duration(n, at) },
		"safety": func(n *yaml.Node, at string) {
			p.Safety = &catalog.Safety{}
			r.safety(n, at, p.Safety)
		},
	})
}

func (r *reader) safety(n *yaml.Node, at string, s *catalog.Safety) {
	r.fields(n, at, map[string]func(*yaml.Node, string){
		"minRegions":          func(n *yaml.Node, at string) { s.MinRegions = r.number(n, at) },
		"minEndpointsPercent": func(n *yaml.Node, at string) { s.MinEndpointsPercent = r.number(n, at) },
		"gates":               func(n *yaml.Node, at string) { s.Gates = r.list(n, at, "gates") },
	})
}

// fields reads a mapping with known keys and returns the nodes that it found,
// nil if n is no mapping.
func (r *reader) fields(n *yaml.Node, at string, known map[string]func(*yaml.Node, string)) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		r.fail(n, orDocument(at), "expected fields, found %s", describe(n))
		return nil
	}
	found := make(map[string]*yaml.Node)
	r.entries(n, at, func(key, value *yaml.Node, at string) {
		read, ok := known[key.Value]
		if !ok {
			r.fail(key, at, "unknown field; expected one of %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			return
		}
		found[key.Value] = value
		read(value, at)
	})
	return found
}

// entries calls each for every entry of a mapping.
func (r *reader) entries(n *yaml.Node, at string, each func(key, value *yaml.Node, at string)) {
	if n.Kind != yaml.MappingNode {
		r.fail(n, orDocument(at), "expected key: value pairs, found %s", describe(n))
		return
	}
	seen := make(map[string]*yaml.Node)
	r.values[n] = seen
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.fail(key, orDocument(at), "expected a name as key, found %s", describe(key))
			continue
		}
		path := strings.TrimPrefix(at+"."+plain(key.Value), ".")
		if seen[key.Value] != nil {
			r.fail(key, path, "expected each key once, found it again")
			continue
		}
		seen[key.Value] = value
		each(key, value, path)
	}
}

// list reads a list of names of something.
func (r *reader) list(n *yaml.Node, at, of string) []string {
	if n.Kind != yaml.SequenceNode {
		r.fail(n, at, "expected a list of %s, found %s", of, describe(n))
		return nil
	}
	list := make([]string, len(n.Content))
	for i, item := range n.Content {
		text(r, &list[i])(item, fmt.Sprintf("%s[%d]", at, i))
	}
	return list
}

// text returns a function that reads a string into to.
func text(r *reader, to *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, at string) {
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
			r.fail(n, at, "expected text, found %s", describe(n))
			return
		}
		*to = n.Value
	}
}

func (r *reader) number(n *yaml.Node, at string) uint32 {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" {
		if v, err := strconv.ParseUint(n.Value, 10, 32); err == nil {
			return uint32(v)
		}
	}
	r.fail(n, at, "expected a whole number, 0 or more, found %s", describe(n))
	return 0
}

func (r *reader) duration(n *yaml.Node, at string) *catalog.Duration {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		if v, err := time.ParseDuration(n.Value); err == nil {
			d := catalog.Duration(v)
			return &d
		}
	}
	r.fail(n, at, "expected a duration such as 10s or 1m30s, found %s", describe(n))
	return nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// describe says what a node is, for "found ...".
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "key: value pairs"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias (write the value out)"
	case isNull(n):
		return "nothing"
	}
	return strconv.Quote(clip(n.Value))
}

// clip keeps what a message quotes short.
func clip(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

// plain makes a key safe to print.
func plain(s string) string {
	s = clip(s)
	if quoted := strconv.Quote(s); quoted[1:len(quoted)-1] != s {
		return quoted
	}
	return s
}

func orDocument(at string) string {
	if at == "" {
		return "document"
	}
	return at
}
