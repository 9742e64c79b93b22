package dns

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

// Tally is what a [Server] has answered since it was made; [Tally.Since] makes the
// figures of an interval of two. Readers count on while a tally is taken, so the
// last few answers may show in the next one only.
type Tally struct {
	// Lookups counts the A, AAAA and SRV questions for services and their ports;
	// Failed those of them that got no record, although the service exists. That an
	// IPv4 service has no AAAA record is no failure, nor is an answer cut short.
	Lookups, Failed uint64
	// Explicit counts the questions that name what they want, a pinned region or one
	// endpoint: no drill applies to them, and they count nowhere else.
	Explicit uint64
	// Named counts, by region, the answers that name an endpoint of the region. An
	// SRV answer and that of a headless service name those that stand by, too.
	Named map[string]uint64
	// Latency is how long UDP answers took inside the server, of a sample: all while
	// they are few, one in 64 at least.
	Latency Histogram
}

// Since returns the counts from an older tally of the same server to this one.
func (t Tally) Since(older Tally) Tally {
	named := make(map[string]uint64, len(t.Named))
	for region, n := range t.Named {
		if n = less(n, older.Named[region]); n > 0 {
			named[region] = n
		}
	}
	for i := range t.Latency {
		t.Latency[i] = less(t.Latency[i], older.Latency[i])
	}
	return Tally{less(t.Lookups, older.Lookups), less(t.Failed, older.Failed), less(t.Explicit, older.Explicit), named, t.Latency}
}

func less(n, by uint64) uint64 { return n - min(n, by) }

// Histogram counts durations: index i those from 2^(i-1) up to but not including
// 2^i nanoseconds, the last also all longer ones.
type Histogram [36]uint64

// Quantile returns the upper bound of the bucket that holds the q-quantile, q from
// 0 to 1; 0 for an empty histogram.
func (h *Histogram) Quantile(q float64) time.Duration {
	var all, sum uint64
	for _, n := range h {
		all += n
	}
	for i, n := range h {
		if sum += n; n > 0 && float64(sum) >= q*float64(all) {
			return time.Duration(1) << i
		}
	}
	return 0
}

func bucketOf(d time.Duration) int {
	return min(bits.Len64(uint64(max(0, d))), len(Histogram{})-1)
}

// Tally returns the counts so far. It costs about a nanosecond for every place of
// every service, and nothing on the path of an answer.
func (s *Server) Tally() Tally {
	t := Tally{Named: map[string]uint64{}}
	all := *s.stats.Load()
	var further, again uint64
	for _, st := range all {
		t.Lookups += st.unnamed.Load()
		further += st.further.Load()
		t.Failed += st.failed.Load()
		t.Explicit += st.explicit.Load()
		for i := range st.durations {
			t.Latency[i] += st.durations[i].Load()
		}
	}
	twice := map[string]uint64{}
	for id, c := range s.cells.list() {
		switch n := sum(all, id); {
		case n == 0:
		case c.whole:
			twice[c.spots[0].Region] += n
			again += n
		default:
			t.Lookups += n
			for i := range c.spots {
				if !slices.ContainsFunc(c.spots[:i], func(s spot) bool { return s.Region == c.spots[i].Region }) {
					t.Named[c.spots[i].Region] += n
				}
			}
		}
	}
	for region, n := range twice {
		t.Named[region] = less(t.Named[region], n)
	}
	t.Lookups = less(t.Lookups, further+again)
	return t
}

// Named returns how many answers so far name an endpoint of a scope.
//
// For a cluster it is an upper bound: an answer that is drawn from two of its zones
// may count twice, and one that names a place which clusters share counts for each
// of them.
// What a drill has taken out altogether is named by no answer, and counted in none.
func (s *Server) Named(scope catalog.Scope) uint64 {
	var n, twice uint64
	all := *s.stats.Load()
	for id, c := range s.cells.list() {
		switch {
		case !c.within(&scope):
		case c.whole:
			twice += sum(all, id)
		default:
			n += sum(all, id)
		}
	}
	return less(n, twice)
}

// maxCells bounds what is told apart; beyond it services share cells.
const maxCells = chunks * chunkSize

// cells numbers what answers can name: for every service its places, and their
// regions. They are never forgotten, so that no count falls.
//
// Most answers name one place, or always the same ones, and cost one addition: the
// cell of these places counts the answers that name them. Where the places of an
// answer are drawn, each is counted, and the cell of a region how often an answer
// named one more place of it, to be taken off where answers are counted by region.
type cells struct {
	mu    sync.Mutex
	ids   map[cellKey]uint32
	known []*cell // by id; only appended to
}

type cellKey struct {
	service catalog.ServiceName
	spots   string
	whole   bool
}

// cell is a region of a service (whole), or the places that an answer names.
type cell struct {
	service catalog.ServiceName
	spots   []spot // one if whole
	whole   bool
}

// spot is a place, and the clusters that have endpoints in its answers.
type spot struct {
	catalog.Locality
	clusters []string
}

// within reports whether a cell counts for the scope. A region's own does where no
// place is singled out.
func (c *cell) within(s *catalog.Scope) bool {
	if c.whole && (s.Zone != "" || s.Cluster != "") || s.Service != (catalog.ServiceName{}) && s.Service != c.service {
		return false
	}
	return slices.ContainsFunc(c.spots, func(at spot) bool {
		return at.Region == s.Region && (s.Zone == "" || s.Zone == at.Zone) &&
			(s.Cluster == "" || slices.Contains(at.clusters, s.Cluster))
	})
}

func (c *cell) key() cellKey {
	var b strings.Builder
	for _, at := range c.spots {
		fmt.Fprintf(&b, "%s/%s %s;", at.Region, at.Zone, strings.Join(at.clusters, ","))
	}
	return cellKey{c.service, b.String(), c.whole}
}

// naming is what an answer names: the ids of a place and of its region.
type naming struct{ place, region uint32 }

// naming returns the ids for the endpoints that serve in a locality.
func (c *cells) naming(service catalog.ServiceName, l *locality.Locality) naming {
	var clusters []string
	for i := range l.Endpoints {
		if e := &l.Endpoints[i]; e.Weight > 0 && !slices.Contains(clusters, e.Cluster) {
			clusters = append(clusters, e.Cluster)
		}
	}
	slices.Sort(clusters)
	c.mu.Lock()
	defer c.mu.Unlock()
	region := catalog.Locality{Region: l.Region}
	return naming{
		region: c.id(&cell{service: service, spots: []spot{{region, nil}}, whole: true}),
		place:  c.id(&cell{service: service, spots: []spot{{l.Locality, clusters}}}),
	}
}

// together returns what to count for answers that always name all of a list: one
// cell, unless there are too many already.
func (c *cells) together(list []naming) []naming {
	if len(list) < 2 {
		return list
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	made := &cell{service: c.known[list[0].place].service}
	for _, n := range list {
		made.spots = append(made.spots, c.known[n.place].spots...)
	}
	slices.SortFunc(made.spots, func(a, b spot) int {
		return cmp.Or(a.Locality.Compare(b.Locality), slices.Compare(a.clusters, b.clusters))
	})
	if _, known := c.ids[made.key()]; !known && len(c.known) >= maxCells-maxShared {
		return list
	}
	return []naming{{place: c.id(made)}}
}

// id returns the number of a cell, that of one which all services share if there
// are too many.
func (c *cells) id(made *cell) uint32 {
	key := made.key()
	if id, ok := c.ids[key]; ok {
		return id
	}
	switch {
	case len(c.known) >= maxCells:
		return maxCells - 1
	case len(c.known) >= maxCells-maxShared && made.service != catalog.ServiceName{}:
		return c.id(&cell{spots: made.spots, whole: made.whole})
	}
	if c.ids == nil {
		c.ids = map[cellKey]uint32{}
	}
	c.ids[key] = uint32(len(c.known))
	c.known = append(c.known, made)
	return c.ids[key]
}

// maxShared is how many of the cells are kept for those that services share.
const maxShared = 8 * chunkSize

func (c *cells) list() []*cell {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
}

const (
	chunks    = 256
	chunkSize = 1024
)

// counters are one reader's counts, by cell. A chunk is made when it is needed.
type counters [chunks]atomic.Pointer[[chunkSize]atomic.Uint64]

func (c *counters) add(id uint32) {
	chunk := c[id/chunkSize].Load()
	if chunk == nil {
		c[id/chunkSize].CompareAndSwap(nil, new([chunkSize]atomic.Uint64))
		chunk = c[id/chunkSize].Load()
	}
	chunk[id%chunkSize].Add(1)
}

func sum(all []*stats, id int) (n uint64) {
	for _, st := range all {
		if chunk := st.named[id/chunkSize].Load(); chunk != nil {
			n += chunk[id%chunkSize].Load()
		}
	}
	return n
}

// tally counts an answer for a service.
func (w *worker) tally(d node, t *table) {
	st := w.stats
	if d.kind == nodeEndpoint || d.pin != 0 {
		st.explicit.Add(1)
		return
	}
	wanted := true
	switch qtype := w.q.qtype; {
	case d.kind == nodePort && qtype == typeSRV:
	case d.kind != nodeService || qtype != typeA && qtype != typeAAAA:
		return
	default:
		wanted = w.an > 0 || d.service.expects(qtype)
	}
	switch {
	case w.an > 0 && d.kind == nodePort:
		st.name(w.srvNamed)
	case w.an > 0 && t.all != nil:
		st.name(t.named[familyIndex(w.q.qtype)])
	case w.an > 0:
		st.name(w.picks.names[:w.picks.places])
	default:
		st.unnamed.Add(1)
		if wanted && w.flags&flagTC == 0 {
			st.failed.Add(1)
		}
	}
}

// name counts an answer that names something.
func (st *stats) name(list []naming) {
	if len(list) == 0 {
		return
	}
	st.named.add(list[0].place)
	if len(list) > 1 {
		st.nameMore(list)
	}
}

// nameMore counts what an answer names beside the first place.
func (st *stats) nameMore(list []naming) {
	regions := uint64(1)
	for i := 1; i < len(list); i++ {
		st.named.add(list[i].place)
		if slices.ContainsFunc(list[:i], func(n naming) bool { return n.region == list[i].region }) {
			st.named.add(list[i].region)
		} else {
			regions++
		}
	}
	if regions > 1 {
		st.further.Add(regions - 1)
	}
}

func familyIndex(qtype uint16) int {
	if qtype == typeAAAA {
		return 1
	}
	return 0
}

// expects reports whether a question for an address of the service should find
// one: it has endpoints of that family, or none of either.
func (p *prepared) expects(qtype uint16) bool {
	return p.families[familyIndex(qtype)] || p.families == [2]bool{}
}

// familiesOf tells for which of A and AAAA a service has endpoints, whatever their
// health.
func familiesOf(s *catalog.Service) (has [2]bool) {
	for i := range s.Backends {
		if s.Backends[i].Set == nil {
			continue
		}
		for j := range s.Backends[i].Set.Endpoints {
			if a := s.Backends[i].Set.Endpoints[j].Address.Unmap(); a.IsValid() {
				has[familyIndex(familyOf(a))] = true
			}
		}
	}
	return has
}
