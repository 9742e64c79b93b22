package wan

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// path is one ordered pair of regions.
type path struct {
	link   Link
	cut    bool
	luck   *rand.Rand // draws per packet
	bursts *rand.Rand // draws per burst
	burst  bool       // a burst is on,
	turn   time.Time  // until here, or off until here; zero before the first packet
	free   time.Time  // when the bandwidth has sent what it was given
	last   time.Time  // when the last packet that keeps its order arrives
	flight int        // packets on their way
	stats  Stats
}

// newPath returns a path with a perfect link. What it draws depends on the seed
// and the names of the regions only.
func newPath(seed uint64, from, to string) *path {
	name := fnv.New64a()
	_, _ = name.Write([]byte(from + "\x00" + to)) // never fails
	return &path{
		luck:   rand.New(rand.NewPCG(seed, name.Sum64())),
		bursts: rand.New(rand.NewPCG(^seed, name.Sum64())),
	}
}

// set changes the link. Packets on their way keep their arrival, and those that
// are sent from now on do not wait for them.
func (p *path) set(l Link) {
	p.link, p.last, p.turn, p.burst = l, time.Time{}, time.Time{}, false
	if l.Rate == 0 {
		p.free = time.Time{}
	}
}

// fate says when a packet of some bytes that is sent now arrives, once for each
// copy. If it does not arrive it is counted, and there are none.
func (p *path) fate(now time.Time, size int) []time.Time {
	// Every packet draws all of them.
	lost, late, held, twice, lateAgain := p.luck.Float64(), p.luck.Float64(), p.luck.Float64(), p.luck.Float64(), p.luck.Float64()
	p.stats.Sent++
	p.stats.SentBytes += int64(size)
	inBurst := p.inBurst(now)
	switch {
	case p.cut:
		p.stats.Cut++
		return nil
	case inBurst:
		p.stats.LostInBursts++
		return nil
	case lost < p.link.Loss:
		p.stats.Lost++
		return nil
	}
	sent, ok := p.transmit(now, size)
	if !ok || p.flight >= maxFlight {
		p.stats.Overflowed++
		return nil
	}
	at := p.arrival(sent, late)
	if held < p.link.Reorder {
		at = at.Add(p.link.HoldBack)
		p.stats.HeldBack++
	} else if !p.link.Overtake {
		p.last = at
	}
	arrivals := []time.Time{at}
	if twice < p.link.Duplicate {
		p.stats.Duplicated++
		arrivals = append(arrivals, p.arrival(sent, lateAgain))
	}
	return arrivals
}

// arrival is when a packet arrives that was sent at a time and has the given
// luck, 0 to 1, with its jitter.
func (p *path) arrival(sent time.Time, luck float64) time.Time {
	at := sent.Add(p.link.Delay + time.Duration(luck*float64(p.link.Jitter)))
	if !p.link.Overtake && at.Before(p.last) {
		return p.last
	}
	return at
}

// transmit says when the last bit of a packet has left; false if the queue has
// no room for it.
func (p *path) transmit(now time.Time, size int) (time.Time, bool) {
	if p.link.Rate == 0 {
		return now, true
	}
	queue := p.link.Queue
	if queue == 0 {
		queue = DefaultQueue
	}
	start := now
	if p.free.After(now) {
		start = p.free
	}
	waiting := start.Sub(now).Seconds() * float64(p.link.Rate)
	if waiting+float64(size) > float64(queue) {
		return time.Time{}, false
	}
	p.free = start.Add(time.Duration(float64(size) / float64(p.link.Rate) * float64(time.Second)))
	return p.free, true
}

// inBurst says whether a burst of loss is on.
func (p *path) inBurst(now time.Time) bool {
	if p.link.BurstEvery == 0 {
		return false
	}
	if p.turn.IsZero() {
		p.turn = now.Add(p.spell(p.link.BurstEvery))
	}
	for !p.turn.After(now) {
		p.burst = !p.burst
		mean := p.link.BurstEvery
		if p.burst {
			mean = p.link.BurstFor
		}
		p.turn = p.turn.Add(p.spell(mean))
	}
	return p.burst
}

// spell draws a time, of at least a nanosecond so that turns end.
func (p *path) spell(mean time.Duration) time.Duration {
	return 1 + time.Duration(p.bursts.ExpFloat64()*float64(mean))
}
