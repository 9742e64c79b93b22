package operator

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// export is a service of a cluster, refused or not.
type export struct {
	catalog.SetKey
	region string
}

func (e export) String() string {
	return fmt.Sprintf("%s of cluster %s", e.Service, e.Cluster)
}

// exports returns those of all clusters, by service and cluster.
func (s *Server) exports() []export {
	var out []export
	s.Catalog.Exports(func(region string, k catalog.SetKey) bool {
		out = append(out, export{k, region})
		return true
	})
	slices.SortFunc(out, func(a, b export) int {
		if n := a.Service.Compare(b.Service); n != 0 {
			return n
		}
		return strings.Compare(a.Cluster, b.Cluster)
	})
	return out
}

type exportRules map[string]catalog.ExportRule

func (r exportRules) with(name string, rule catalog.ExportRule) exportRules {
	out := maps.Clone(r)
	out[name] = rule
	return out
}

// exportEffect is what a change of the rules does to what is exported.
type exportEffect struct {
	taken, given, kept []export
	before, after      *catalog.ExportRules
}

// effectOn compares what two sets of rules say of the exports.
func effectOn(exports []export, before, after exportRules) exportEffect {
	e := exportEffect{before: catalog.NewExportRules(before), after: catalog.NewExportRules(after)}
	for _, x := range exports {
		was := !e.before.Verdict(x.region, x.Cluster, x.Service).Refused()
		will := e.after.Verdict(x.region, x.Cluster, x.Service)
		switch {
		case was && will.Refused():
			e.taken = append(e.taken, x)
		case was && len(will.Naming) > 0:
			e.kept = append(e.kept, x)
		case !was && !will.Refused():
			e.given = append(e.given, x)
		}
	}
	return e
}

// stepwise returns the names of the rules of next in an order in which they can be
// written one after the other so that none of kept is refused at any moment. Where
// there is no such order it returns the rest in any, and one that would suffer.
func stepwise(kept []export, before, next exportRules) (order []string, suffers *export) {
	now := before
	left := slices.Sorted(maps.Keys(next))
	// A rule that allows something first, what only refuses last.
	slices.SortStableFunc(left, func(a, b string) int { return min(len(next[b].Clusters), 1) - min(len(next[a].Clusters), 1) })
	for len(left) > 0 {
		var stuck []string
		for _, name := range left {
			then := now.with(name, next[name])
			if x := firstRefused(kept, then); x != nil {
				suffers = x
				stuck = append(stuck, name)
				continue
			}
			now = then
			order = append(order, name)
		}
		if len(stuck) == len(left) {
			return append(order, stuck...), suffers
		}
		left = stuck
	}
	return order, nil
}

func firstRefused(exports []export, rules exportRules) *export {
	compiled := catalog.NewExportRules(rules)
	for _, x := range exports {
		if compiled.Verdict(x.region, x.Cluster, x.Service).Refused() {
			return &x
		}
	}
	return nil
}

// refusedExports puts exports on the wire, with the rules that name each.
func (s *Server) refusedExports(exports []export, rules *catalog.ExportRules) []*pb.RefusedExport {
	var out []*pb.RefusedExport
	for _, x := range exports {
		r := &pb.RefusedExport{
			Service: x.Service.String(), Cluster: x.Cluster, Region: x.region,
			Rules: rules.Verdict(x.region, x.Cluster, x.Service).Naming,
		}
		if set := s.Catalog.Set(x.region, x.SetKey); set != nil {
			r.Endpoints = uint32(len(set.Endpoints))
		}
		out = append(out, r)
	}
	return out
}

// exportsNamed lists exports in words, the first few by name.
func exportsNamed(exports []export) string {
	names := make([]string, len(exports))
	for i, x := range exports {
		names[i] = x.String()
	}
	return fmt.Sprintf("%d export(s): %s", len(exports), strings.Join(most(names, maxAlike), ", "))
}

// rulesNamed names export rules in words.
func rulesNamed(rules []string) string {
	if len(rules) == 1 {
		return "export rule " + rules[0]
	}
	return "export rules " + strings.Join(most(rules, maxSuggested), ", ")
}
