package wan

import (
	"container/heap"
	"fmt"
	"time"
)

// maxFlight bounds the packets that are on their way on one path.
const maxFlight = 1 << 14

// Stats counts what became of the packets of a path. Those that are neither
// delivered nor counted as gone are on their way.
type Stats struct {
	Sent, SentBytes           int64 // by the region
	Delivered, DeliveredBytes int64 // to the other one, copies included
	Duplicated, HeldBack      int64
	Lost, LostInBursts        int64
	Overflowed                int64 // no room in a queue
	Cut                       int64 // copies included
}

// Gone is how many packets did not arrive, whatever the cause.
func (s Stats) Gone() int64 { return s.Lost + s.LostInBursts + s.Overflowed + s.Cut }

// Delivery is a packet that has arrived at a region.
type Delivery struct {
	To     string
	Packet []byte
}

// Router carries packets between regions. It is not safe for concurrent use.
type Router struct {
	paths map[[2]string]*path // from, to
	queue arrivals
	count uint64 // packets put into the queue
}

// New returns a router between all of the regions, with perfect links.
func New(seed uint64, regions ...string) *Router {
	r := &Router{paths: map[[2]string]*path{}}
	for _, from := range regions {
		for _, to := range regions {
			if from != to {
				r.paths[[2]string{from, to}] = newPath(seed, from, to)
			}
		}
	}
	return r
}

func (r *Router) path(from, to string) (*path, error) {
	if p := r.paths[[2]string{from, to}]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("expected two different regions of this network, found %q and %q", from, to)
}

// Set changes how a path behaves.
func (r *Router) Set(from, to string, l Link) error {
	p, err := r.path(from, to)
	if err != nil {
		return err
	}
	if err := l.Validate(); err != nil {
		return fmt.Errorf("the link from %s to %s: %w", from, to, err)
	}
	p.set(l)
	return nil
}

// Link is how a path behaves.
func (r *Router) Link(from, to string) (Link, error) {
	p, err := r.path(from, to)
	if err != nil {
		return Link{}, err
	}
	return p.link, nil
}

// Cut cuts a path, or mends it. Of a cut path nothing arrives, also not what was
// on its way.
func (r *Router) Cut(from, to string, cut bool) error {
	p, err := r.path(from, to)
	if err != nil {
		return err
	}
	p.cut = cut
	return nil
}

// Stats returns the counts of a path.
func (r *Router) Stats(from, to string) (Stats, error) {
	p, err := r.path(from, to)
	if err != nil {
		return Stats{}, err
	}
	return p.stats, nil
}

// Send takes a packet that a region sends to another now. The router keeps it.
func (r *Router) Send(now time.Time, from, to string, packet []byte) error {
	p, err := r.path(from, to)
	if err != nil {
		return err
	}
	for _, at := range p.fate(now, len(packet)) {
		p.flight++
		r.count++
		heap.Push(&r.queue, arrival{at: at, number: r.count, path: p, to: to, packet: packet})
	}
	return nil
}

// Next says when the next packet arrives; false if none is on its way.
func (r *Router) Next() (time.Time, bool) {
	if len(r.queue) == 0 {
		return time.Time{}, false
	}
	return r.queue[0].at, true
}

// Due returns what has arrived by now, in its order.
func (r *Router) Due(now time.Time) []Delivery {
	var due []Delivery
	for len(r.queue) > 0 && !r.queue[0].at.After(now) {
		a := heap.Pop(&r.queue).(arrival)
		a.path.flight--
		if a.path.cut {
			a.path.stats.Cut++
			continue
		}
		a.path.stats.Delivered++
		a.path.stats.DeliveredBytes += int64(len(a.packet))
		due = append(due, Delivery{To: a.to, Packet: a.packet})
	}
	return due
}

// arrival is a packet on its way.
type arrival struct {
	at     time.Time
	number uint64 // orders those that arrive at the same time
	path   *path
	to     string
	packet []byte
}

// arrivals is a heap by time.
type arrivals []arrival

func (a arrivals) Len() int      { return len(a) }
func (a arrivals) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a arrivals) Less(i, j int) bool {
	if a[i].at.Equal(a[j].at) {
		return a[i].number < a[j].number
	}
	return a[i].at.Before(a[j].at)
}
func (a *arrivals) Push(x any) { *a = append(*a, x.(arrival)) }
func (a *arrivals) Pop() any {
	last := (*a)[len(*a)-1]
	(*a)[len(*a)-1] = arrival{} // so that the packet can go
	*a = (*a)[:len(*a)-1]
	return last
}
