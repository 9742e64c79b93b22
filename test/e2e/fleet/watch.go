package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/federator/federator/test/still"
)

// Watch looks a name up at every one of the replicas, over and over, until the
// returned function is called, which returns how many lookups there were. Each that is
// not answered with at least one address fails the test, and the first of them are told.
// Only one that timed out while this process or the agent stood still is asked again.
func (f *Fleet) Watch(name string, replicas ...*Replica) (stop func() int) {
	const told = 20
	done := make(chan struct{})
	var wg sync.WaitGroup
	var lookups, failed atomic.Int64
	for _, r := range replicas {
		pace := beginPace(r)
		w := watcher{ask: func() ([]string, error) { return r.Lookup(name) }, begin: pace.begin, stood: pace.stood}
		wg.Go(func() { pace.follow(done) })
		wg.Go(func() {
			for {
				forgiven, err := w.lookup()
				lookups.Add(1)
				if forgiven != "" {
					f.Logf("%s: %s", r, forgiven)
				}
				if err != nil && failed.Add(1) <= told {
					f.Errorf("%s: a lookup of %s failed: %v", r, name, err)
				}
				select {
				case <-done:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	end := sync.OnceFunc(func() {
		close(done)
		wg.Wait()
		if n := failed.Load(); n > told {
			f.Errorf("%d of %d lookups of %s failed", n, lookups.Load(), name)
		}
	})
	f.Cleanup(end) // before the replicas end
	return func() int {
		end()
		return int(lookups.Load())
	}
}

// watcher looks a name up at one replica.
type watcher struct {
	ask func() ([]string, error)
	// begin is called before a lookup; stood says after one what stood still since, ""
	// if nothing did.
	begin func()
	stood func() string
}

// maxRepeats is how often a lookup that timed out is asked again.
const maxRepeats = 3

// lookup asks once; err says what was wrong with the answer. A timeout is asked again
// at once, and forgiven if there is an answer then and something stood still
// meanwhile: forgiven says so.
func (w watcher) lookup() (forgiven string, err error) {
	w.begin()
	first := answered(w.ask())
	if !timedOut(first) {
		return "", first
	}
	for n := 1; ; n++ {
		err := answered(w.ask())
		if err == nil {
			break
		}
		if !timedOut(err) || n == maxRepeats {
			return "", fmt.Errorf("%w; asked again %d times: %w", first, n, err)
		}
	}
	if stood := w.stood(); stood != "" {
		return fmt.Sprintf("a lookup timed out while %s, and was answered when it was asked again", stood), nil
	}
	return "", fmt.Errorf("%w; it was answered when it was asked again, but neither this process nor the agent had stood still", first)
}

// answered is nil for a lookup that found an address.
func answered(found []string, err error) error {
	if err == nil && len(found) == 0 {
		return errors.New("expected an address, found none")
	}
	return err
}

func timedOut(err error) bool {
	var late net.Error
	return errors.As(err, &late) && late.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

// pace knows whether this process or an agent stood still.
type pace struct {
	self   *still.Watch
	of     *Replica
	latest atomic.Int64 // what the agent counted when it was asked last; unknown before
	before int64
}

// unknown is what an agent counts that has never said it.
const unknown = -1

// beginPace asks the agent once. [pace.follow] ends what it begins.
func beginPace(r *Replica) *pace {
	p := &pace{self: still.Begin(nil), of: r}
	p.latest.Store(unknown)
	p.ask()
	return p
}

// follow asks the agent every second until done is closed, so that what it said last
// is hardly older than a lookup.
func (p *pace) follow(done <-chan struct{}) {
	defer p.self.End()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			p.ask()
		}
	}
}

func (p *pace) begin() {
	p.self.Longest()
	p.before = p.latest.Load()
}

// countsWithin is how long after an agent goes on it may take until it has counted
// that it stood still.
const countsWithin = time.Second

func (p *pace) stood() string {
	if gap := p.self.Longest(); gap > 0 {
		return fmt.Sprintf("this process stood still for %v", gap.Round(time.Millisecond))
	}
	if p.before == unknown {
		return ""
	}
	more := func() error {
		if p.ask(); p.latest.Load() > p.before {
			return nil
		}
		return errors.New("it counts no more")
	}
	if Await(countsWithin, more) != nil {
		return ""
	}
	return "the agent stood still"
}

// ask has the agent say how often it has stood still. One that does not answer, or
// whose metrics do not say it, is as if it had not been asked.
func (p *pace) ask() {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: p.of.machine.DialContext, DisableKeepAlives: true}}
	answer, err := client.Get("http://" + p.of.HTTP + "/metrics")
	if err != nil {
		return
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "federator_gossip_pauses_total "); ok {
			if n, err := strconv.ParseFloat(text, 64); err == nil {
				p.latest.Store(int64(n))
			}
			return
		}
	}
}
