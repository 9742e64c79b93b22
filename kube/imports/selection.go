package imports

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

// member is one endpoint as it is listed.
type member struct {
	*locality.Endpoint
	region string
	// ready members get traffic; the others are listed because they would if they
	// were well.
	ready bool
	// hints are the zones whose clients it is for, nil if there are no hints.
	hints []string
}

// Share is what one locality has of an import's traffic, in percent: wanted by the
// resolution, and achieved by the number of endpoints.
type Share struct {
	Locality string `json:"locality"`
	Wanted   int    `json:"wanted"`
	Achieved int    `json:"achieved"`
}

// selection is which endpoints of one address family are listed.
type selection struct {
	members []member
	shares  []Share
	// err is the part of the traffic that goes elsewhere than wanted, in parts per
	// million.
	err uint64
}

// chooser picks the endpoints of one address family of one service.
type chooser struct {
	res     *locality.Resolution
	four    bool
	cluster string // the importing one: each has subsets of its own
	limit   int
	listed  map[netip.Addr]bool // what is listed now: true if ready
}

// part is one bin with its endpoints, the best by rendezvous first.
type part struct {
	*locality.Locality
	ready []scored
	share uint64 // relative to those of the other parts
	held  int
}

type scored struct {
	*locality.Endpoint
	score float64
}

// headless lists every endpoint that may serve, nearest first.
func (c *chooser) headless() selection {
	var s selection
	for at := range c.localities {
		var order []scored
		for i := range at.Endpoints {
			if e := &at.Endpoints[i]; c.mine(e) {
				order = append(order, scored{e, c.score(e)})
			}
		}
		slices.SortFunc(order, func(a, b scored) int {
			return cmp.Or(cmp.Compare(min(1, b.Weight), min(1, a.Weight)), compareScored(a, b))
		})
		for _, e := range order[:min(len(order), c.limit-len(s.members))] {
			s.members = append(s.members, member{Endpoint: e.Endpoint, region: at.Region, ready: e.Weight > 0})
		}
	}
	return s
}

// balanced lists a subset of every locality that serves, sized by its share.
func (c *chooser) balanced() selection {
	parts := c.parts()
	bins := make([]bin, len(parts))
	split(parts, bins)
	s := selection{err: apportion(bins, c.limit)}
	total := 0
	for i := range bins {
		total += bins[i].count
	}
	for i := range parts {
		for _, e := range parts[i].ready[:bins[i].count] {
			s.members = append(s.members, member{Endpoint: e.Endpoint, region: parts[i].Region, ready: true})
		}
	}
	s.shares = sharesOf(parts, bins, total)
	c.addUnwell(&s, parts, bins)
	return s
}

// localities calls yield with every locality of the resolution, nearest first.
func (c *chooser) localities(yield func(*locality.Locality) bool) {
	for i := range c.res.Priorities {
		for j := range c.res.Priorities[i].Localities {
			if !yield(&c.res.Priorities[i].Localities[j]) {
				return
			}
		}
	}
}

// mine reports whether the endpoint is of the chooser's family, and can be listed.
func (c *chooser) mine(e *locality.Endpoint) bool {
	return e.Address.Is4() == c.four && listable(e.Address)
}

// listable reports whether an EndpointSlice may have the address. The API server
// refuses a whole slice over one that may not, and a services file knows addresses
// that no cluster of Kubernetes has.
func listable(a netip.Addr) bool {
	return !a.Is4In6() && a.Zone() == "" && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

// parts divides the endpoints that serve into bins. Endpoints of one locality whose
// kinds have different shares (degraded beside healthy, drilled beside not) are in
// bins of their own.
func (c *chooser) parts() []part {
	var parts []part
	for at := range c.localities {
		if at.Weight == 0 {
			continue
		}
		first := len(parts)
		var sums [4]uint64
		var whole uint64
		var index [4]int
		for i := range at.Endpoints {
			e := &at.Endpoints[i]
			if e.Weight == 0 || !c.mine(e) {
				continue
			}
			k := kindOf(at, e)
			if sums[k] == 0 {
				index[k] = len(parts)
				parts = append(parts, part{Locality: at})
			}
			p := &parts[index[k]]
			p.ready = append(p.ready, scored{e, c.score(e)})
			if c.listed[e.Address] {
				p.held++
			}
			sums[k] += uint64(e.Weight)
			whole += uint64(e.Weight)
		}
		for k, sum := range sums {
			if sum > 0 {
				parts[index[k]].share = uint64(at.Weight) * sum / whole
			}
		}
		for i := first; i < len(parts); i++ {
			slices.SortFunc(parts[i].ready, compareScored)
		}
	}
	return parts
}

// kindOf tells apart the endpoints of one locality that have different shares.
func kindOf(at *locality.Locality, e *locality.Endpoint) int {
	k := 0
	if e.Drilled {
		k++
	}
	if e.Health == catalog.Degraded && at.Serving&locality.ServeAll == 0 {
		k += 2
	}
	return k
}

// split makes the bins of the parts: localities without an endpoint of this family
// leave their share to the others.
func split(parts []part, bins []bin) {
	var sum uint64
	for i := range parts {
		sum += parts[i].share
	}
	left := uint64(unit)
	for i := range parts {
		bins[i] = bin{share: parts[i].share * unit / max(1, sum), size: len(parts[i].ready), held: parts[i].held}
		left -= bins[i].share
	}
	if len(bins) > 0 {
		bins[0].share += left
	}
}

// sharesOf sums the shares up by locality.
func sharesOf(parts []part, bins []bin, total int) []Share {
	var out []Share
	var wanted, counted uint64
	for i := range parts {
		wanted += bins[i].share
		counted += uint64(bins[i].count)
		if i+1 < len(parts) && parts[i+1].Locality == parts[i].Locality {
			continue
		}
		out = append(out, Share{
			Locality: parts[i].Locality.Locality.String(),
			Wanted:   percent(wanted, unit), Achieved: percent(counted, uint64(max(1, total))),
		})
		wanted, counted = 0, 0
	}
	return out
}

func percent(part, whole uint64) int { return int((100*part + whole/2) / whole) }

// addUnwell lists what does not serve now but would if it were well, as not ready,
// so that its return flips a condition and moves nothing: in a locality that
// serves, the endpoints that the rendezvous would have chosen, and in one that has
// lost its share, those that were listed.
func (c *chooser) addUnwell(s *selection, parts []part, bins []bin) {
	for at := range c.localities {
		lowest, serves := c.lowest(at, parts, bins)
		for i := range at.Endpoints {
			e := &at.Endpoints[i]
			if e.Weight > 0 || !c.mine(e) {
				continue
			}
			_, was := c.listed[e.Address]
			if len(s.members) < c.limit && (was || serves && c.score(e) >= lowest) {
				s.members = append(s.members, member{Endpoint: e, region: at.Region})
			}
		}
	}
}

// lowest returns the score that an endpoint of the locality needs to be chosen, and
// whether any is.
func (c *chooser) lowest(at *locality.Locality, parts []part, bins []bin) (float64, bool) {
	lowest, serves := math.Inf(1), false
	for i := range parts {
		if parts[i].Locality != at || bins[i].count == 0 {
			continue
		}
		serves = true
		if bins[i].count == bins[i].size {
			return math.Inf(-1), true
		}
		lowest = min(lowest, parts[i].ready[bins[i].count-1].score)
	}
	return lowest, serves
}

// score is the weight of an endpoint in the rendezvous: the k endpoints with the
// highest ones are chosen, so that of a changed set or number only the difference
// moves. An endpoint of twice the weight is chosen as if it were there twice
// (weighted rendezvous hashing: -w/ln(u) with u uniform in (0,1)).
func (c *chooser) score(e *locality.Endpoint) float64 {
	h := uint64(14695981039346656037) // FNV-1a, 64 bits
	for _, s := range [...]string{c.cluster, c.res.Service.Namespace, c.res.Service.Name, e.Cluster, e.ID} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	u := (float64(mix(h)>>11) + 0.5) / (1 << 53)
	return -float64(max(1, e.Endpoint.Weight)) / math.Log(u)
}

// mix is the finalizer of SplitMix64: FNV alone leaves ids that differ in their
// last letters close together.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func compareScored(a, b scored) int {
	return cmp.Or(cmp.Compare(b.score, a.score), strings.Compare(a.Cluster, b.Cluster), strings.Compare(a.ID, b.ID))
}
