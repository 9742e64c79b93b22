package drill

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

// ledger adds up traffic by place. There are few places, so it is a list.
type ledger struct {
	loads []Load
	sums  []sums
}

type sums struct{ before, after uint64 }

func newLedger() *ledger { return &ledger{} }

// at returns the entry of a place.
func (l *ledger) at(place string, drilled bool) int {
	for i := range l.loads {
		if l.loads[i].Drilled == drilled && l.loads[i].Place == place {
			return i
		}
	}
	l.loads = append(l.loads, Load{Place: place, Drilled: drilled})
	l.sums = append(l.sums, sums{})
	return len(l.loads) - 1
}

// add adds one resolution to the field that of chooses.
func (l *ledger) add(res locality.Resolution, s catalog.Scope, of func(*Load) *uint32) {
	for i := range res.Priorities {
		for j := range res.Priorities[i].Localities {
			at := &res.Priorities[i].Localities[j]
			inside := insideOf(at, s)
			for _, part := range []struct {
				drilled bool
				weight  uint32
			}{{true, inside}, {false, at.Weight - inside}} {
				if part.weight == 0 {
					continue
				}
				k := l.at(at.Region, part.drilled)
				*of(&l.loads[k]) += part.weight
			}
		}
	}
}

// insideOf is the part of a locality's traffic that goes to the scope.
func insideOf(at *locality.Locality, s catalog.Scope) uint32 {
	switch {
	case at.Region != s.Region || s.Zone != "" && at.Zone != s.Zone:
		return 0
	case s.Cluster == "":
		return at.Weight
	}
	var in, all uint64
	for i := range at.Endpoints {
		e := &at.Endpoints[i]
		all += uint64(e.Weight)
		if e.Cluster == s.Cluster {
			in += uint64(e.Weight)
		}
	}
	if all == 0 {
		return 0
	}
	return uint32(uint64(at.Weight) * in / all)
}

// merge adds the loads of another ledger.
func (l *ledger) merge(o *ledger) {
	for _, load := range o.loads {
		k := l.at(load.Place, load.Drilled)
		l.sums[k].before += uint64(load.Before)
		l.sums[k].after += uint64(load.After)
	}
}

// list returns the loads, the drilled place first, then by name; sums are divided
// by n.
func (l *ledger) list(n uint64) []Load {
	out := slices.Clone(l.loads)
	for i, s := range l.sums {
		if s != (sums{}) {
			out[i].Before, out[i].After = uint32((s.before+n/2)/n), uint32((s.after+n/2)/n)
		}
	}
	slices.SortFunc(out, func(a, b Load) int {
		if a.Drilled != b.Drilled {
			return map[bool]int{true: -1, false: 1}[a.Drilled]
		}
		return strings.Compare(a.Place, b.Place)
	})
	return out
}

// sum is the traffic of all groups together, a service counting as much as any.
func sum(groups []Group) []Load {
	all, n := newLedger(), uint64(0)
	for i := range groups {
		n += uint64(groups[i].Count)
		for _, l := range groups[i].Load {
			k := all.at(l.Place, l.Drilled)
			all.sums[k].before += uint64(l.Before) * uint64(groups[i].Count)
			all.sums[k].after += uint64(l.After) * uint64(groups[i].Count)
		}
	}
	return all.list(max(1, n))
}

// numbers is the same for groups with the same effect.
func numbers(g *Group) string {
	b := []byte{bit(g.SetAside)}
	for i := range g.Clients {
		c := &g.Clients[i]
		b = append(append(b, c.Region...), 0, bit(c.Panic), bit(c.Stale))
		for _, l := range c.Load {
			b = append(append(b, l.Place...), 0, bit(l.Drilled))
			b = binary.AppendUvarint(b, uint64(l.Before))
			b = binary.AppendUvarint(b, uint64(l.After))
		}
	}
	return string(b)
}

// signature is the same for services that resolve to the same shares: whatever
// the answer depends on but names and addresses.
func signature(b []byte, c *catalog.Conditions, scope catalog.Scope, s *catalog.Service) []byte {
	_, policy := c.Policy(s.Name)
	b = append(append(b, policy...), 0)
	for _, d := range c.Drills {
		if d.Scope.Service == s.Name {
			b = append(append(b, s.Name.String()...), 0)
		}
	}
	for i := range s.Backends {
		backend := &s.Backends[i]
		if backend.Set == nil {
			continue
		}
		b = append(append(b, backend.Region...), 0)
		// Clusters count only where one of them is drilled.
		for _, d := range c.Drills {
			b = append(b, bit(d.Scope.Cluster == backend.Set.Cluster))
		}
		b = append(b, bit(scope.Cluster == backend.Set.Cluster), bit(backend.Stale))
		b = places(b, backend)
	}
	return b
}

// places appends how many endpoints of each health and weight are in a row in
// each zone.
func places(b []byte, backend *catalog.Backend) []byte {
	eps := backend.Set.Endpoints
	for i := 0; i < len(eps); {
		h, n := healthOf(backend, i), i
		for n < len(eps) && eps[n].Zone == eps[i].Zone && eps[n].Weight == eps[i].Weight && healthOf(backend, n) == h {
			n++
		}
		b = append(append(b, eps[i].Zone...), 0, byte(h))
		b = binary.AppendUvarint(b, uint64(eps[i].Weight))
		b = binary.AppendUvarint(b, uint64(n-i))
		i = n
	}
	return append(b, 0xff)
}

func bit(set bool) byte {
	if set {
		return 1
	}
	return 0
}
