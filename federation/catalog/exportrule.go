package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The bounds of export rules.
const (
	// MaxRulePatterns bounds each of the two lists of a rule.
	MaxRulePatterns = 256
	// MaxExportPatterns bounds the services and clusters of all rules together.
	MaxExportPatterns = 10_000
)

// RegionSelector is how a rule names all clusters of a region.
const RegionSelector = "region:"

// ExportRule says which clusters may export some services. A cluster may export a
// service if no rule names the service, or if a rule that names it allows the
// cluster. So {Services: ["*/*"]} alone refuses everything, and every rule beside
// it allows something.
type ExportRule struct {
	// Services are patterns "namespace/name". In each part one '*' stands for any
	// letters, also none: "payments/*", "pay*/api", "*/*-internal".
	Services []string `json:"services"`
	// Clusters are the names of clusters, with one '*' at most, or "region:NAME" for
	// all clusters that the registry gives to a region. None: no cluster may.
	Clusters []string `json:"clusters"`
}

// ExportRuleError is what is wrong with one field of an export rule.
type ExportRuleError struct {
	// Path leads to the field, or into it: its name, then an index.
	Path []string
	err  error
}

// Error names the field.
func (e *ExportRuleError) Error() string {
	at := e.Path[0]
	for _, index := range e.Path[1:] {
		at += "[" + index + "]"
	}
	return at + ": " + e.err.Error()
}

// Unwrap returns what is wrong with the value.
func (e *ExportRuleError) Unwrap() error { return e.err }

// FieldPath returns Path.
func (e *ExportRuleError) FieldPath() []string { return e.Path }

// ValidateExportRule returns everything that is wrong with a rule, each an
// [ExportRuleError].
func ValidateExportRule(name string, r ExportRule) []error {
	var errs []error
	bad := func(err error, path ...string) {
		if err != nil {
			errs = append(errs, &ExportRuleError{path, err})
		}
	}
	bad(ValidateLabel("export rule", name), "name")
	if n := len(r.Services); n == 0 || n > MaxRulePatterns {
		bad(fmt.Errorf("expected 1 to %d patterns such as payments/* or */*, found %d", MaxRulePatterns, n), "services")
	}
	if n := len(r.Clusters); n > MaxRulePatterns {
		bad(fmt.Errorf("expected at most %d clusters, found %d", MaxRulePatterns, n), "clusters")
	}
	each := func(field string, list []string, check func(string) error) {
		for i, s := range list[:min(len(list), MaxRulePatterns)] {
			at := fmt.Sprint(i)
			bad(check(s), field, at)
			if first := slices.Index(list, s); first < i {
				bad(fmt.Errorf("expected each once; found %q again", s), field, at)
			}
		}
	}
	each("services", r.Services, func(s string) error {
		_, _, err := parseServicePattern(s)
		return err
	})
	each("clusters", r.Clusters, func(s string) error {
		_, err := parseClusterPattern(s)
		return err
	})
	return errs
}

// glob is a name in which one '*' may stand for any letters.
type glob struct {
	prefix, suffix string
	any            bool
}

func (g glob) matches(s string) bool {
	if !g.any {
		return s == g.prefix
	}
	return len(s) >= len(g.prefix)+len(g.suffix) && strings.HasPrefix(s, g.prefix) && strings.HasSuffix(s, g.suffix)
}

// parseGlob reads a name that is valid, or would be with something in the place
// of its only '*'.
func parseGlob(s string, valid func(string) bool) (glob, bool) {
	prefix, suffix, any := strings.Cut(s, "*")
	switch {
	case !any:
		return glob{prefix: s}, valid(s)
	case prefix == "" && suffix == "":
		return glob{any: true}, true
	}
	return glob{prefix, suffix, true}, valid(prefix+"a"+suffix) || valid(prefix+suffix)
}

// parseServicePattern reads "namespace/name".
func parseServicePattern(s string) (namespace, name glob, err error) {
	a, b, two := strings.Cut(s, "/")
	namespace, ok := parseGlob(a, isLabel)
	name, also := parseGlob(b, isLabel)
	if !two || !ok || !also {
		err = fmt.Errorf("pattern %.100q: expected NAMESPACE/NAME, each a DNS label in which one '*' may stand for any letters, for example payments/api, payments/* or */*", s)
	}
	return namespace, name, err
}

// clusterPattern selects clusters by name, or by region.
type clusterPattern struct {
	region string // "" selects by name
	name   glob
}

func (p clusterPattern) matches(region, cluster string) bool {
	if p.region != "" {
		return p.region == region
	}
	return p.name.matches(cluster)
}

func parseClusterPattern(s string) (clusterPattern, error) {
	if region, ok := strings.CutPrefix(s, RegionSelector); ok {
		if !isLabel(region) {
			return clusterPattern{}, fmt.Errorf("cluster %.100q: expected the name of a region behind %q, for example region:us-west", s, RegionSelector)
		}
		return clusterPattern{region: region}, nil
	}
	name, ok := parseGlob(s, func(s string) bool { return ValidateCluster(s) == nil })
	if !ok {
		return clusterPattern{}, fmt.Errorf("cluster %.100q: expected the name of a cluster in which one '*' may stand for any letters, or region:NAME, for example west-1, west-* or region:us-west", s)
	}
	return clusterPattern{name: name}, nil
}

// ReadExportRule reads the spec of an object; a rule that this build cannot read
// in full is an error, and is not enforced.
func ReadExportRule(o *Object) (ExportRule, error) {
	var r ExportRule
	if err := json.Unmarshal(o.Spec, &r); err != nil {
		return r, err
	}
	return r, errors.Join(ValidateExportRule(o.Name, r)...)
}

// ExportRules are the rules of the federation, prepared for many questions. The
// zero value has none, and refuses nothing. Values are immutable.
type ExportRules struct {
	names []string // in order
	// exact and inNamespace index the patterns without a '*' and those with a
	// literal namespace.
	exact       map[ServiceName][]int
	inNamespace map[string][]namePattern
	others      []namePattern
	clusters    [][]clusterPattern // by index of names
	beyond      []string
}

// namePattern is a pattern of services, with the indexes of the rules that have it.
type namePattern struct {
	namespace, name glob
	rules           []int
}

// NewExportRules prepares valid rules, by name; what is invalid in them names and
// allows nothing. Rules beyond [MaxExportPatterns], in the order of their names,
// are left out.
func NewExportRules(rules map[string]ExportRule) *ExportRules {
	e := &ExportRules{exact: map[ServiceName][]int{}, inNamespace: map[string][]namePattern{}}
	same := map[[2]glob][]int{} // rules often share a pattern such as */*
	patterns := 0
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		r := rules[name]
		if patterns += len(r.Services) + len(r.Clusters); patterns > MaxExportPatterns {
			e.beyond = append(e.beyond, name)
			continue
		}
		i := len(e.names)
		e.names = append(e.names, name)
		for _, s := range r.Services {
			if namespace, service, err := parseServicePattern(s); err == nil {
				key := [2]glob{namespace, service}
				same[key] = append(same[key], i)
			}
		}
		var clusters []clusterPattern
		for _, s := range r.Clusters {
			if p, err := parseClusterPattern(s); err == nil {
				clusters = append(clusters, p)
			}
		}
		e.clusters = append(e.clusters, clusters)
	}
	for p, rules := range same {
		e.add(namePattern{p[0], p[1], rules})
	}
	return e
}

func (e *ExportRules) add(p namePattern) {
	switch {
	case !p.namespace.any && !p.name.any:
		e.exact[ServiceName{p.namespace.prefix, p.name.prefix}] = p.rules
	case !p.namespace.any:
		e.inNamespace[p.namespace.prefix] = append(e.inNamespace[p.namespace.prefix], p)
	default:
		e.others = append(e.others, p)
	}
}

// naming returns the indexes of the rules that name a service, in order.
func (e *ExportRules) naming(s ServiceName) []int {
	if len(e.names) == 0 {
		return nil
	}
	found := slices.Clone(e.exact[s])
	for _, p := range e.inNamespace[s.Namespace] {
		if p.name.matches(s.Name) {
			found = append(found, p.rules...)
		}
	}
	for _, p := range e.others {
		if p.namespace.matches(s.Namespace) && p.name.matches(s.Name) {
			found = append(found, p.rules...)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func (e *ExportRules) allows(rule int, region, cluster string) bool {
	return slices.ContainsFunc(e.clusters[rule], func(p clusterPattern) bool { return p.matches(region, cluster) })
}

// refusing returns the rules that name a service, and none of which allows the
// cluster; nil if it may export it. naming is that of the service.
func (e *ExportRules) refusing(naming []int, region, cluster string) []string {
	if slices.ContainsFunc(naming, func(i int) bool { return e.allows(i, region, cluster) }) {
		return nil
	}
	return e.named(naming)
}

func (e *ExportRules) named(rules []int) []string {
	var out []string
	for _, i := range rules {
		out = append(out, e.names[i])
	}
	return out
}

// Beyond returns the names of the rules that are not enforced, because with them
// there would be more than [MaxExportPatterns].
func (e *ExportRules) Beyond() []string { return slices.Clone(e.beyond) }

// ExportVerdict is what the rules say of one service of one cluster.
type ExportVerdict struct {
	// Naming are the rules that name the service, in order, and Allowing those of
	// them that allow the cluster.
	Naming, Allowing []string
}

// Refused reports whether the cluster may not export the service.
func (v ExportVerdict) Refused() bool { return len(v.Naming) > 0 && len(v.Allowing) == 0 }

// Verdict judges a service of a cluster. region is the one that the registry
// gives the cluster to.
func (e *ExportRules) Verdict(region, cluster string, service ServiceName) ExportVerdict {
	naming := e.naming(service)
	v := ExportVerdict{Naming: e.named(naming)}
	for _, i := range naming {
		if e.allows(i, region, cluster) {
			v.Allowing = append(v.Allowing, e.names[i])
		}
	}
	return v
}
