package imports

import (
	"fmt"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

// drawBackends draws up to four exporters.
func drawBackends(t *rapid.T) []catalog.Backend {
	var out []catalog.Backend
	for _, at := range []string{"west-1@us-west", "west-2@us-west", "east-1@us-east", "eu-1@eu-central"} {
		if rapid.IntRange(0, 3).Draw(t, "absent") == 0 {
			continue
		}
		spec := at
		for _, zone := range []string{"/a", "/b"} {
			states := rapid.SliceOfN(rapid.SampledFrom([]byte("hhhhhhduux?")), 1, 130).Draw(t, "states")
			spec += zone + " " + string(states) + " "
		}
		b := backend(strings.TrimSpace(spec))
		b.Set.Headless = rapid.IntRange(0, 9).Draw(t, "headless") == 0
		if rapid.Bool().Draw(t, "properties") {
			pairs := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "kubernetes.io/c", LabelImport}), rapid.SampledFrom([]string{"", "x"}), 0, 3)
			b.Set.Properties = &catalog.Properties{
				Labels: pairs.Draw(t, "labels"), Annotations: pairs.Draw(t, "annotations"), NodeLocal: rapid.Bool().Draw(t, "node local"),
				TrafficDistribution: rapid.SampledFrom([]string{"", "PreferClose", "PreferSameNode"}).Draw(t, "distribution"),
			}
		}
		if rapid.Bool().Draw(t, "metrics") {
			b.Set.Ports = append(b.Set.Ports, metrics)
		}
		for i := range b.Set.Endpoints {
			if rapid.IntRange(0, 20).Draw(t, "port") == 0 {
				b.Set.Endpoints[i].Ports = map[string]uint16{"http": 8081}
			}
		}
		out = append(out, b)
	}
	return out
}

func TestAPlanThatWasCarriedOutLeavesNothingToDo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStore(t)
		s.in.Zones = map[string]int{"a": 2, "b": 2}
		s.prunes = rapid.Bool().Draw(rt, "prunes")
		for step := range rapid.IntRange(1, 5).Draw(rt, "steps") {
			s.in.Knowledge = knows(uint64(step + 1))
			backends := drawBackends(rt)
			s.exported(t, backends...)
			s.settle(t) // fails if there is always more to write
			checkSlices(rt, s)
			// A new leader, somewhat later, that knows more: nothing to write.
			s.in.Knowledge, s.in.Now = knows(uint64(step+1)*2), metav1.NewTime(start.AddDate(0, 0, 1))
			if p := Make(s.in); len(p.Writes) != 0 {
				rt.Fatalf("expected nothing to write, found %s", words(p.Writes))
			}
			s.in.Knowledge = knows(uint64(step + 1))
		}
	})
}

// checkSlices checks what must hold of all slices together.
func checkSlices(t *rapid.T, s *store) {
	seen := map[string]string{}
	groups := map[string][]int{}
	total := 0
	for _, slice := range s.in.Facts.Slices {
		if n := len(slice.Endpoints); n == 0 || n > maxPerSlice {
			t.Fatalf("slice %s has %d endpoints, expected 1 to %d", slice.Name, n, maxPerSlice)
		}
		cluster := slice.Labels[mcsv1beta1.LabelSourceCluster]
		key := fmt.Sprint(cluster, slice.AddressType, portsOf(slice))
		groups[key] = append(groups[key], len(slice.Endpoints))
		for _, e := range slice.Endpoints {
			for _, p := range slice.Ports { // with other ports it may be elsewhere, too
				at := cluster + "/" + e.Addresses[0] + ":" + *p.Name
				if other, ok := seen[at]; ok {
					t.Fatalf("%s is in %s and in %s", at, slice.Name, other)
				}
				seen[at] = slice.Name
			}
			total++
		}
	}
	if total > maxEndpoints {
		t.Fatalf("%d endpoints, expected at most %d", total, maxEndpoints)
	}
	for key, sizes := range groups {
		sum := 0
		for _, n := range sizes {
			sum += n
		}
		if most := 2 + sum*4/3/maxPerSlice; len(sizes) > most {
			t.Fatalf("group %s: %d endpoints are scattered over %d slices, expected at most %d", key, sum, len(sizes), most)
		}
	}
}

func portsOf(s *discoveryv1.EndpointSlice) (out []int32) {
	for _, p := range s.Ports {
		out = append(out, *p.Port)
	}
	return out
}
