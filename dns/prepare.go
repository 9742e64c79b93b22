package dns

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

// world is what besides the services decides answers, ready for questions. It
// is immutable; every change of the conditions makes a new one.
type world struct {
	generation uint64
	conditions *catalog.Conditions
	clients    *clients
	localities []catalog.Locality    // by localityID
	regions    map[string]localityID // the known regions, as client localities
	eager      []localityID          // those of the own region
}

// tableKey says for whom a table is: a client locality, and whether the name
// asked for pins the locality's region.
type tableKey uint64

const pinned tableKey = 1 << 32

// table is the prepared resolution of one service for one client locality. It
// counts for one generation of the world.
type table struct {
	key        tableKey
	generation uint64
	used       atomic.Bool // since it was last swept
	srv        atomic.Pointer[srvSet]
	*outcome
}

// outcome is what a resolution comes to. Tables of one service whose outcomes
// are equal share it.
type outcome struct {
	stale    bool        // some traffic goes where nobody can confirm the state now
	doubtful bool        // nobody can confirm now that there is no more than this
	shares   []share     // localities that serve now
	upTo     int         // how many addresses tell a shared resolver the shares
	all      *place      // every endpoint that serves or stands by, nearest tier first; headless only
	first    [2]int      // how many of all's A and AAAA records serve now
	named    [2][]naming // what answers with all's A and AAAA records name
}

// share is a locality with its part of the traffic. A draw below end that is not
// below the previous share's end goes here; the last end is 1<<32.
type share struct {
	place *place
	end   uint64
}

// prepared is one service as questions see it. The service never changes; its
// tables come and go.
type prepared struct {
	service  *catalog.Service
	ramp     locality.Factors
	hash     uint64
	ttl      uint32
	cells    *cells
	families [2]bool // whether it has endpoints with A and AAAA records
	vip      *vip    // nil if it has none here

	tables atomic.Pointer[[]*table] // ordered by key, replaced as a whole
	mu     sync.Mutex               // serialises building
	gone   bool                     // replaced or forgotten: keeps no more tables
	places []*place                 // shared images, pruned when all tables are outdated
	placed uint64                   // the generation that places belongs to
}

func newPrepared(s *catalog.Service, ramp locality.Factors, ttl uint32, c *cells) *prepared {
	p := &prepared{service: s, ramp: ramp, ttl: ttl, cells: c, families: familiesOf(s)}
	for _, c := range []byte(s.Name.String()) {
		p.hash = mix64(p.hash, uint64(c))
	}
	p.tables.Store(new([]*table))
	return p
}

// peek returns the table for a key, whatever its generation, or nil.
func (p *prepared) peek(key tableKey) *table {
	tables := *p.tables.Load()
	if len(tables) <= 8 {
		for _, t := range tables {
			if t.key == key {
				return t
			}
		}
		return nil
	}
	i, ok := slices.BinarySearchFunc(tables, key, compareKey)
	if !ok {
		return nil
	}
	return tables[i]
}

func compareKey(t *table, key tableKey) int {
	switch {
	case t.key < key:
		return -1
	case t.key > key:
		return 1
	}
	return 0
}

// build makes the table for a key and keeps it if the budget allows.
func (p *prepared) build(w *world, key tableKey, b *budget) *table {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.peek(key); t != nil && t.generation == w.generation {
		return t
	}
	res := p.resolve(w, key)
	if p.placed != w.generation {
		p.places, p.placed = nil, w.generation
	}
	made := p.outcome(&res)
	made.doubtful = p.doubtful(w, key)
	t := &table{key: key, generation: w.generation, outcome: p.share(made, w.generation)}
	t.used.Store(true)
	p.keep(t, b)
	return t
}

func (p *prepared) resolve(w *world, key tableKey) locality.Resolution {
	at := w.localities[key&^pinned]
	in := locality.Input{Service: p.service, Conditions: w.conditions, Client: at, Ramp: p.ramp}
	if key&pinned != 0 {
		in.Pin = at.Region
	}
	return locality.Resolve(in)
}

// doubtful reports whether there may be endpoints that nobody here has heard of:
// the region asked about, or one that has the service, cannot confirm its state.
func (p *prepared) doubtful(w *world, key tableKey) bool {
	region := w.localities[key&^pinned].Region
	if w.conditions.Isolated || w.conditions.Reach[region] >= catalog.ControlPlaneLost {
		return true
	}
	return slices.ContainsFunc(p.service.Backends, func(b catalog.Backend) bool {
		return b.Stale && (key&pinned == 0 || b.Region == region)
	})
}

// keep adds a table, or replaces the one with its key.
func (p *prepared) keep(t *table, b *budget) {
	old := *p.tables.Load()
	i, found := slices.BinarySearchFunc(old, t.key, compareKey)
	if p.gone || !found && !b.take() {
		return
	}
	next := make([]*table, 0, len(old)+1)
	next = append(next, old[:i]...)
	next = append(next, t)
	if found {
		i++
	}
	next = append(next, old[i:]...)
	p.tables.Store(&next)
}

// sweep drops the tables that nobody used since the last sweep.
func (p *prepared) sweep(b *budget) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := *p.tables.Load()
	next := make([]*table, 0, len(old))
	for _, t := range old {
		if t.used.Swap(false) {
			next = append(next, t)
		}
	}
	b.give(len(old) - len(next))
	p.tables.Store(&next)
}

// retire gives the tables' budget back. Questions that still hold the service
// are answered, but leave nothing behind.
func (p *prepared) retire(b *budget) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	b.give(len(*p.tables.Load()))
}

// share returns an equal outcome of the same generation if there is one.
func (p *prepared) share(o *outcome, generation uint64) *outcome {
	for _, t := range *p.tables.Load() {
		if t.generation == generation && t.equal(o) {
			return t.outcome
		}
	}
	return o
}

func (o *outcome) equal(other *outcome) bool {
	return o.all == nil && other.all == nil &&
		o.stale == other.stale && o.doubtful == other.doubtful && slices.Equal(o.shares, other.shares)
}

// outcome turns a resolution into shares of images.
func (p *prepared) outcome(res *locality.Resolution) *outcome {
	o := &outcome{stale: res.Stale, upTo: maxAddresses}
	var sum uint64
	all := imager{ttl: p.ttl}
	for i := range res.Priorities {
		for j := range res.Priorities[i].Localities {
			l := &res.Priorities[i].Localities[j]
			if p.service.Headless && len(all.addrs) < maxHeadless {
				before := all.count()
				all.addAll(l.Endpoints)
				o.name(p.cells.naming(p.service.Name, l), before, all.count())
			}
			if l.Weight == 0 {
				continue
			}
			o.addShare(p.image(l), l.Weight, &sum)
			if p.service.Headless {
				o.first = all.count()
			}
		}
	}
	o.finish()
	if p.service.Headless {
		o.all = all.place(catalog.Locality{})
		for i := range o.named {
			o.named[i] = p.cells.together(o.named[i])
		}
	}
	return o
}

// name notes that answers with all endpoints name a place, for the families of
// which there are more now than before.
func (o *outcome) name(n naming, before, now [2]int) {
	for i := range now {
		if now[i] > before[i] {
			o.named[i] = append(o.named[i], n)
		}
	}
}

func (o *outcome) addShare(at *place, weight uint32, sum *uint64) {
	n := at.size()
	if n == 0 {
		return
	}
	*sum += uint64(weight)
	o.shares = append(o.shares, share{place: at, end: min(*sum<<32/locality.Unit, 1<<32)})
	// Shares are rounded to the millionth: two of three endpoints weigh 666667.
	slack := int(weight) / 100
	o.upTo = max(1, min(o.upTo, (n*locality.Unit+slack)/int(weight)))
}

// finish makes the last share end at the end of the line.
func (o *outcome) finish() {
	if n := len(o.shares); n > 0 {
		o.shares[n-1].end = 1 << 32
	}
}

// image returns the place for a locality, an existing one if it is the same.
func (p *prepared) image(l *locality.Locality) *place {
	im := imager{ttl: p.ttl}
	im.addAll(l.Endpoints)
	made := im.place(l.Locality)
	for _, at := range p.places {
		if at.at == made.at && at.a.equal(&made.a) && at.aaaa.equal(&made.aaaa) {
			return at
		}
	}
	made.naming = p.cells.naming(p.service.Name, l)
	p.places = append(p.places, made)
	return made
}

// count returns how many A and AAAA records were gathered.
func (im *imager) count() (n [2]int) {
	for _, a := range im.addrs {
		if a.Is4() {
			n[0]++
		} else {
			n[1]++
		}
	}
	return n
}

// budget bounds the tables of all services together.
type budget struct {
	left atomic.Int64
}

const maxTables = 1 << 20

func newBudget() *budget {
	b := &budget{}
	b.left.Store(maxTables)
	return b
}

func (b *budget) take() bool {
	if b.left.Add(-1) >= 0 {
		return true
	}
	b.left.Add(1)
	return false
}

func (b *budget) give(n int) { b.left.Add(int64(n)) }
