package devlab

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// lookupTimeout is after how long a lookup without an answer has failed.
const lookupTimeout = time.Second

// ask looks up the IPv4 addresses of a name at one server, once.
func ask(ctx context.Context, server, name string) ([]string, error) {
	question := new(dns.Msg)
	question.SetQuestion(name, dns.TypeA)
	client := &dns.Client{Timeout: lookupTimeout}
	answer, _, err := client.ExchangeContext(ctx, question, server)
	if err != nil {
		return nil, err
	}
	if answer.Rcode != dns.RcodeSuccess {
		return nil, badAnswer(fmt.Sprintf("%s answers %s for %s", server, dns.RcodeToString[answer.Rcode], name))
	}
	var addresses []string
	for _, rr := range answer.Answer {
		if a, ok := rr.(*dns.A); ok {
			addresses = append(addresses, a.A.String())
		}
	}
	slices.Sort(addresses)
	return addresses, nil
}

// lookup is one lookup and what came of it.
type lookup struct {
	asked     time.Time
	answered  time.Time
	replica   *Replica
	name      string
	addresses []string
	err       error
}

// has reports whether the answer holds an address of the given network.
func (l *lookup) has(network *net.IPNet) bool {
	return slices.ContainsFunc(l.addresses, func(a string) bool { return network.Contains(net.ParseIP(a)) })
}

// networkOf is the network of the endpoints of region k.
func networkOf(k int) *net.IPNet {
	return &net.IPNet{IP: net.IPv4(127, 10, byte(k), 0).To4(), Mask: net.CIDRMask(24, 32)}
}

// Watch asks every running replica for the same names all the time, and
// remembers every answer.
type Watch struct {
	lab   *Lab
	names []string
	pause time.Duration
	// stoodStill counts the times that this process stood still for longer than
	// agents may before they judge others.
	stoodStill atomic.Int64

	mu      sync.Mutex
	lookups []lookup
}

// newWatch asks for names at every replica, each name once per pause.
func newWatch(l *Lab, pause time.Duration, names ...string) *Watch {
	return &Watch{lab: l, pause: pause, names: names}
}

// run asks until ctx ends.
func (w *Watch) run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { w.attend(ctx) })
	for _, r := range w.lab.Replicas {
		for _, name := range w.names {
			group.Go(func() { w.follow(ctx, r, name) })
		}
	}
	group.Wait()
}

// attend wakes up often, and sees how late it is.
func (w *Watch) attend(ctx context.Context) {
	const (
		every   = 50 * time.Millisecond
		atLeast = 250 * time.Millisecond
	)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(last)-every > atLeast {
			w.stoodStill.Add(1)
		}
		last = now
	}
}

func (w *Watch) follow(ctx context.Context, r *Replica, name string) {
	tick := time.NewTicker(w.pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !w.lab.serves(r.Name) {
			continue
		}
		asked := time.Now()
		addresses, err := ask(ctx, r.DNS, name)
		if ctx.Err() != nil || !w.lab.serves(r.Name) {
			continue // it was ended while it was asked
		}
		if err == nil && len(addresses) == 0 {
			err = badAnswer(r.Name + " answers " + name + " without an address")
		}
		w.mu.Lock()
		w.lookups = append(w.lookups, lookup{asked, time.Now(), r, name, addresses, err})
		w.mu.Unlock()
	}
}

// since returns the lookups asked at or after t for which match is true.
func (w *Watch) since(t time.Time, match func(*lookup) bool) []lookup {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []lookup
	for i := len(w.lookups) - 1; i >= 0; i-- {
		l := &w.lookups[i]
		if l.answered.Before(t) {
			break // in order of answers
		}
		if !l.asked.Before(t) && match(l) {
			found = append(found, *l)
		}
	}
	return found
}

// failed returns the lookups since t that brought no address.
func (w *Watch) failed(t time.Time) []lookup {
	return w.since(t, func(l *lookup) bool { return l.err != nil })
}
