package dns

import (
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

// Tally is what a [Server] has answered since it was made. The counters only ever
// rise; [Tally.Since] makes the figures of an interval of two.
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
		if n -= older.Named[region]; n > 0 {
			named[region] = n
		}
	}
	for i := range t.Latency {
		t.Latency[i] -= older.Latency[i]
	}
	return Tally{t.Lookups - older.Lookups, t.Failed - older.Failed, t.Explicit - older.Explicit, named, t.Latency}
}

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
	for _, st := range all {
		t.Lookups += st.lookups.Load()
		t.Failed += st.failed.Load()
		t.Explicit += st.explicit.Load()
		for i := range st.durations {
			t.Latency[i] += st.durations[i].Load()
		}
	}
	for id, c := range s.cells.list() {
		if c.whole {
			if n := sum(all, id); n > 0 {
				t.Named[c.Region] += n
			}
		}
	}
	return t
}

// Named returns how many answers so far name an endpoint of a scope.
//
// For a cluster it is an upper bound: an answer that names it in two zones counts
// twice, and one that names a place which clusters share counts for each of them.
// What a drill has taken out altogether is named by no answer, and counted in none.
func (s *Server) Named(scope catalog.Scope) uint64 {
	var n uint64
	all := *s.stats.Load()
	for id, c := range s.cells.list() {
		if c.within(&scope) {
			n += sum(all, id)
		}
	}
	return n
}

// maxCells bounds what is told apart; beyond it services share cells.
const maxCells = chunks * chunkSize

// cells numbers what answers can name: for every service its regions, and in them
// its places. They are never forgotten, so that counts only rise.
type cells struct {
	mu    sync.Mutex
	ids   map[cellKey]int
	known []*cell // by id; only appended to
}

type cellKey struct {
	service catalog.ServiceName
	catalog.Locality
	clusters string // comma-separated
	whole    bool
}

// cell is a region of a service (whole), or a place in it with the clusters that
// have endpoints in its answers.
type cell struct {
	service catalog.ServiceName
	catalog.Locality
	clusters []string
	whole    bool
}

// within reports whether the answers of a cell name the scope. A region's own cell
// counts each answer once, so it stands for its places where none is singled out.
func (c *cell) within(s *catalog.Scope) bool {
	return c.Region == s.Region && (s.Service == catalog.ServiceName{} || s.Service == c.service) &&
		c.whole == (s.Zone == "" && s.Cluster == "") && (s.Zone == "" || s.Zone == c.Zone) &&
		(s.Cluster == "" || slices.Contains(c.clusters, s.Cluster))
}

// naming is what an answer names: the ids of a place and of its region.
type naming struct{ place, region int }

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
		region: c.id(&cell{service: service, Locality: region, whole: true}),
		place:  c.id(&cell{service: service, Locality: l.Locality, clusters: clusters}),
	}
}

// id returns the number of a cell, that of one which all services share if there
// are too many.
func (c *cells) id(made *cell) int {
	key := cellKey{made.service, made.Locality, strings.Join(made.clusters, ","), made.whole}
	if id, ok := c.ids[key]; ok {
		return id
	}
	switch {
	case len(c.known) >= maxCells:
		return maxCells - 1
	case len(c.known) >= maxCells-maxShared && made.service != catalog.ServiceName{}:
		return c.id(&cell{Locality: made.Locality, clusters: made.clusters, whole: made.whole})
	}
	if c.ids == nil {
		c.ids = map[cellKey]int{}
	}
	c.ids[key] = len(c.known)
	c.known = append(c.known, made)
	return len(c.known) - 1
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

func (c *counters) add(id int) {
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
	var wanted bool
	switch qtype := w.q.qtype; {
	case d.kind == nodePort && qtype == typeSRV:
		wanted = true
	case d.kind != nodeService || qtype != typeA && qtype != typeAAAA:
		return
	default:
		wanted = d.service.expects(qtype)
	}
	st.lookups.Add(1)
	if w.an == 0 {
		if wanted && w.flags&flagTC == 0 {
			st.failed.Add(1)
		}
		return
	}
	w.named(d, t)
}

// named counts what an answer names: each place, and each region once.
func (w *worker) named(d node, t *table) {
	st := w.stats
	switch {
	case d.kind == nodePort:
		for i := range w.srvNamed {
			st.named.count(w.srvNamed, i)
		}
	case t.all != nil:
		list := t.named[familyIndex(w.q.qtype)]
		for i := range list {
			st.named.count(list, i)
		}
	default:
		for i := range w.picks.places {
			st.named.count(w.picks.names[:w.picks.places], i)
		}
	}
}

// count counts entry i of what one answer names.
func (c *counters) count(list []naming, i int) {
	c.add(list[i].place)
	for _, before := range list[:i] {
		if before.region == list[i].region {
			return
		}
	}
	c.add(list[i].region)
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
