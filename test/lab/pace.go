package lab

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/federator/federator/test/lab/checker"
	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/still"
)

// pace watches what a busy machine does to a world: that the lab itself stands still,
// that processes of it wait for a CPU, that its WAN carries packets late, and that
// agents stand still.
type pace struct {
	story  *Story
	self   *still.Watch
	wan    *network.Network
	agents *checker.Growth

	mu   sync.Mutex
	late time.Duration // the most that the WAN was since it was asked last
}

// watchPace does so until the test ends. It tells the story of it.
func watchPace(w *World, n *network.Network, agents *checker.Growth) *pace {
	p := &pace{story: w.story, wan: n, agents: agents}
	p.self = still.Begin(func(gap time.Duration) {
		w.story.Say("the lab itself stood still for %v: is the machine busy with something else?", gap.Round(time.Millisecond))
	})
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { p.watchWAN(done) })
	w.Cleanup(func() {
		p.self.End()
		close(done)
		wg.Wait()
	})
	return p
}

func (p *pace) watchWAN(done <-chan struct{}) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		p.look()
	}
}

// look asks the WAN how late it was, and tells it.
func (p *pace) look() {
	late := p.wan.Late()
	if late > still.Least {
		p.story.Say("the WAN of the lab was late by %v: is the machine busy with something else?", late.Round(time.Millisecond))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late = max(p.late, late)
}

// lost says what kept the world from its pace since it was asked last, "" if
// nothing did. Agents that a scenario stopped count as well.
func (p *pace) lost(ctx context.Context) string {
	var all []string
	if gap := p.self.Longest(); gap > 0 {
		all = append(all, fmt.Sprintf("the lab stood still, or a process of it waited for a CPU, for %v", gap.Round(time.Millisecond)))
	}
	p.look()
	p.mu.Lock()
	late := p.late
	p.late = 0
	p.mu.Unlock()
	if late > still.Least {
		all = append(all, fmt.Sprintf("its WAN was late by %v", late.Round(time.Millisecond)))
	}
	if n := p.agents.Pauses(ctx); n > 0 {
		all = append(all, fmt.Sprintf("agents stood still %d times", n))
	}
	return strings.Join(all, ", ")
}
