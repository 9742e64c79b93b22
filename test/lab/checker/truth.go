package checker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Truth is what every replica has to see in the end, as the scenario knows it.
type Truth struct {
	// Services are all endpoints: service, region, address, and then its health in
	// the words of federator endpoints ("healthy", "unhealthy").
	Services map[string]map[string]map[string]string
	// Policies are the JSON of each policy as federator policy get prints it.
	Policies map[string]string
}

// View is what one replica sees, each fact as text by its key.
type View map[string]string

// The keys of a view.
func endpointKey(service, region, address string) string {
	return "endpoint " + address + " of " + service + " in " + region
}
func policyKey(name string) string { return "policy " + name }

// ours are the names that other checkers write: no truth lists them, but all
// replicas must see the same of them.
const ours = "lab/"

func isOurs(key string) bool {
	return strings.Contains(key, " "+ours) || strings.Contains(key, "/"+ours)
}

// view is what a replica that sees the truth sees; policies have no version here.
func (t Truth) view() View {
	out := View{}
	for service, regions := range t.Services {
		for region, endpoints := range regions {
			for address, health := range endpoints {
				out[endpointKey(service, region, address)] = health
			}
		}
	}
	for name, spec := range t.Policies {
		out[policyKey(name)] = spec
	}
	return out
}

// versionMark divides what a policy says from its version.
const versionMark = " at version "

// differences says where views are not the truth, or not the same as the first
// one. Its work is linear in the facts.
func differences(truth Truth, names []string, views []View, now time.Time) []Violation {
	var out []Violation
	want := truth.view()
	for i, v := range views {
		for _, key := range union(want, v) {
			expected, must := want[key]
			said, has := v[key]
			found, _, _ := strings.Cut(said, versionMark)
			switch {
			case has && !must && isOurs(key), has && must && found == expected:
			default:
				out = append(out, Violation{At: now, Where: names[i], Expected: words(key, expected, must), Found: words(key, said, has)})
			}
		}
		for _, key := range union(views[0], v) {
			if first, had := views[0][key]; i > 0 && (first != v[key] || had != has(v, key)) {
				out = append(out, Violation{At: now, Where: names[i], Expected: "as " + names[0] + " sees it: " + words(key, first, had), Found: words(key, v[key], has(v, key))})
			}
		}
	}
	return out
}

func has(v View, key string) bool { _, ok := v[key]; return ok }

func words(key, value string, there bool) string {
	if !there {
		return "no " + key
	}
	return fmt.Sprintf("%s: %s", key, value)
}

// union returns the keys of both, sorted.
func union(a, b View) []string {
	all := maps.Clone(a)
	if all == nil {
		all = View{}
	}
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}
