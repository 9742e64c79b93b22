package imports

import (
	"fmt"
	"strings"
	"testing"

	"github.com/federator/federator/federation/catalog"
)

// many makes 3,000 services with ten endpoints each: six here, four in the next
// region.
func many(b *testing.B) []*store {
	b.Helper()
	out := make([]*store, 3000)
	for n := range out {
		west, east := backend("west-1@us-west/a hhh /b hhh"), backend("east-1@us-east/a hh /b hh")
		s := newStore(b, west, east)
		s.in.Zones = map[string]int{"a": 3, "b": 3}
		s.in.Service.Name = catalog.ServiceName{Namespace: "shop", Name: fmt.Sprintf("svc-%d", n)}
		s.in.Name = s.in.Service.Name
		out[n] = s
	}
	return out
}

// BenchmarkPlanUnchanged plans 3,000 services whose objects are as they should be:
// what a change of the conditions costs that changes nothing.
func BenchmarkPlanUnchanged(b *testing.B) {
	stores := many(b)
	for _, s := range stores {
		s.settle(b)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range stores {
			if p := Make(s.in); len(p.Writes) != 0 {
				b.Fatal(words(p.Writes))
			}
		}
	}
	perService(b, len(stores))
}

// BenchmarkPlanFailover plans the same services after the own region has failed:
// all slices change.
func BenchmarkPlanFailover(b *testing.B) {
	stores := many(b)
	for _, s := range stores {
		s.settle(b)
		name := s.in.Name
		s.exported(b, backend("west-1@us-west/a uuu /b uuu"), backend("east-1@us-east/a hh /b hh"))
		s.in.Service.Name = name
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range stores {
			if p := Make(s.in); len(p.Writes) == 0 {
				b.Fatal("expected writes")
			}
		}
	}
	perService(b, len(stores))
}

// BenchmarkPlanLarge plans one service with 3,000 endpoints, of which a third is
// listed.
func BenchmarkPlanLarge(b *testing.B) {
	s := newStore(b, backend("west-1@us-west/a "+strings.Repeat("h", 2000)), backend("east-1@us-east/a "+strings.Repeat("h", 1000)))
	s.settle(b)
	b.ReportAllocs()
	for b.Loop() {
		if p := Make(s.in); len(p.Writes) != 0 {
			b.Fatal(words(p.Writes))
		}
	}
}

func perService(b *testing.B, services int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*services), "ns/service")
}
