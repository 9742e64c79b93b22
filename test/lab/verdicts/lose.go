package verdicts

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// lose takes a region away, waits until everybody says so, gives it back and
// waits until everybody says that. It returns what was seen.
func (r *run) lose(l Loss, weather Weather) SeenLoss {
	r.Helper()
	before := r.pauses(l.Region)
	r.lateness()
	r.pass(time.Now().Add(waitsOut))
	if l.Kind == Killed {
		r.sample() // what the killed agents counted
	}
	o := Outage{Loss: l, Began: time.Now()}
	var err error
	o.Gone, err = r.take(l)
	r.must(err)
	r.outages = append(r.outages, o)
	this := &r.outages[len(r.outages)-1]
	ended := make(chan struct{})
	end := sync.OnceFunc(func() { close(ended) })
	defer end()
	var knowing sync.WaitGroup
	for _, p := range r.peers {
		knowing.Add(1)
		r.waiting.Go(func() { r.loseFor(p, o, ended, knowing.Done) })
	}
	var after map[string]float64
	var late time.Duration
	look := func() { late, after = r.lateness(), r.pauses(l.Region) }
	_, err = r.watch.await(r.opt.Patience, func(all []Event) bool {
		_, silent := Seen(all, r.agents, o, Silent)
		_, out := Seen(all, r.agents, o, Out)
		if silent && out && after == nil {
			look()
		}
		return silent && out && time.Since(o.Began) >= gone
	})
	r.must(err)
	if after == nil {
		look()
	}
	if l.Kind == Isolated {
		knowing.Wait() // of the same network
	}
	this.Ended = time.Now()
	r.must(r.give(l))
	end()
	back, err := r.watch.await(r.opt.Patience, func(all []Event) bool { _, ok := ReturnedBy(all, *this); return ok })
	r.must(err)
	seen := SeenLoss{Kind: l.Kind, Region: l.Region, Weather: weather.Says, After: o.Began.Sub(r.began), Paused: rose(before, after), Late: late}
	seen.Silent, seen.Out = o.after(r.watch.Events(), r.agents, Silent), o.after(r.watch.Events(), r.agents, Out)
	if back {
		at, _ := ReturnedBy(r.watch.Events(), *this)
		this.Back, seen.Back = at, at.Sub(this.Ended)
	} else {
		this.Back = time.Now() // what is said from now on counts
	}
	r.result.Losses = append(r.result.Losses, seen)
	r.Logf("%s: %s", r.opt.World.Name, seen)
	return seen
}

// take takes a region away at once, and returns when its agents and endpoints were
// gone: those of a killed region may have answered until they were.
func (r *run) take(l Loss) (gone time.Time, err error) {
	if l.Kind == Isolated {
		err = r.net.Isolate(l.Region)
		return time.Now(), err
	}
	var wg, peers sync.WaitGroup
	for _, a := range r.fleet.Replicas(l.Region) {
		wg.Go(a.Kill)
	}
	for _, e := range r.endpoints[l.Region] {
		wg.Go(e.Kill)
	}
	for _, p := range r.peers {
		peers.Go(func() { r.fails(p.Kill(l.Region)) })
	}
	wg.Wait()
	gone = time.Now()
	peers.Wait()
	return gone, nil
}

// give gives a region back.
func (r *run) give(l Loss) error {
	if l.Kind == Isolated {
		return r.net.Heal()
	}
	var errs []error
	for _, e := range r.endpoints[l.Region] {
		errs = append(errs, e.Revive())
	}
	for _, a := range r.fleet.Replicas(l.Region) {
		a.Start()
	}
	return errors.Join(errs...)
}

// loseFor waits until memberlist's members know of a loss, has those of a killed
// region come back, and waits until all know each other again. An isolated region
// comes back when ended is closed, which waits for known.
func (r *run) loseFor(p *Peers, o Outage, ended <-chan struct{}, known func()) {
	this := PeerOutage{Region: o.Region, Began: o.Began}
	r.mu.Lock()
	i := len(r.pouts[p])
	r.pouts[p] = append(r.pouts[p], this)
	r.mu.Unlock()
	for this.Known == 0 && time.Since(o.Began) < peerPatience {
		time.Sleep(100 * time.Millisecond)
		if at, ok := p.AllKnow(o.Region, o.Began); ok {
			this.Known = max(at.Sub(o.Began), 1)
		}
	}
	known()
	if o.Kind == Killed {
		r.fails(p.Revive(o.Region))
	} else {
		<-ended
	}
	this.Ended = time.Now()
	whole := p.Mend(mendPatience)
	this.Whole = time.Now()
	r.mu.Lock()
	r.pouts[p][i] = this
	r.mu.Unlock()
	r.Logf("%s: memberlist %s: all knew of the loss of %s (%s) after %s; all know each other again after %v: %t",
		r.opt.World.Name, p.Name, o.Region, o.Kind, orNot(this.Known), this.Whole.Sub(this.Ended).Round(time.Second), whole)
}

// orNot writes how long something took, 0 if it did not happen.
func orNot(d time.Duration) string {
	if d == 0 {
		return "not in time"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
