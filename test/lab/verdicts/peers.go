package verdicts

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/federator/federator/test/lab/network"
)

// Peers are members of plain memberlist, spread over the regions of a network.
type Peers struct {
	// Name says which defaults they have.
	Name     string
	defaults func() *memberlist.Config

	mu      sync.Mutex // guards what follows and what members know
	members []*member  // the same ones once all are made
	deaths  []Death
}

// Death is that a member took another one for dead.
type Death struct {
	At     time.Time
	By, Of Place
}

// member is one of them.
type member struct {
	Place
	peers *Peers
	host  *network.Host
	port  int
	list  *memberlist.Memberlist // nil while it is dead
	view  map[string]time.Time   // who lives, since when
	lost  map[string]time.Time   // who died, when
}

// firstPort is that of a region's first member.
const firstPort = 10000

// NewPeers makes members in each region, which know each other once [Peers.Whole]
// says so. Close ends them.
func NewPeers(n *network.Network, name string, defaults func() *memberlist.Config, perRegion int) (*Peers, error) {
	p := &Peers{Name: name, defaults: defaults}
	for _, region := range n.Regions() {
		h, err := n.Host(region, "memberlist-"+name)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		for i := range perRegion {
			m := &member{Place: Place{region, fmt.Sprintf("%s-%d", region, i)}, peers: p, host: h, port: firstPort + i}
			if err := m.begin(); err != nil {
				return nil, errors.Join(err, p.Close())
			}
			p.mu.Lock()
			p.members = append(p.members, m)
			p.mu.Unlock()
			if _, err := m.list.Join([]string{p.members[0].address()}); err != nil {
				return nil, errors.Join(err, p.Close())
			}
		}
	}
	return p, nil
}

func (m *member) address() string { return fmt.Sprintf("%s:%d", m.host.Address(), m.port) }

// begin brings the member to life, alone.
func (m *member) begin() error {
	t, err := newTransport(m.host, m.port)
	if err != nil {
		return err
	}
	m.peers.mu.Lock()
	m.view, m.lost = map[string]time.Time{}, map[string]time.Time{}
	m.peers.mu.Unlock()
	c := m.peers.defaults()
	c.Name, c.Transport, c.Events, c.LogOutput = m.Name, t, m, io.Discard
	c.BindAddr, c.BindPort, c.AdvertiseAddr, c.AdvertisePort = m.host.Address(), m.port, m.host.Address(), m.port
	list, err := memberlist.Create(c)
	if err != nil {
		return errors.Join(err, t.Shutdown())
	}
	m.peers.mu.Lock()
	m.list = list
	m.peers.mu.Unlock()
	return nil
}

// NotifyJoin is told of members that live.
func (m *member) NotifyJoin(n *memberlist.Node) {
	m.peers.mu.Lock()
	defer m.peers.mu.Unlock()
	m.view[n.Name] = time.Now()
	delete(m.lost, n.Name)
}

// NotifyLeave is told of members that died.
func (m *member) NotifyLeave(n *memberlist.Node) {
	now := time.Now()
	m.peers.mu.Lock()
	defer m.peers.mu.Unlock()
	delete(m.view, n.Name)
	m.lost[n.Name] = now
	for _, of := range m.peers.members {
		if of.Name == n.Name {
			m.peers.deaths = append(m.peers.deaths, Death{At: now, By: m.Place, Of: of.Place})
		}
	}
}

// NotifyUpdate is told of what is of no interest here.
func (m *member) NotifyUpdate(*memberlist.Node) {}

// Size is how many members there are, dead or alive.
func (p *Peers) Size() int { return len(p.members) }

// Deaths are all so far.
func (p *Peers) Deaths() []Death {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Death(nil), p.deaths...)
}

// Kill ends the members of a region as a crash does.
func (p *Peers) Kill(region string) error {
	var victims []*memberlist.Memberlist
	p.mu.Lock()
	for _, m := range p.members {
		if m.Region == region && m.list != nil {
			victims = append(victims, m.list)
			m.list = nil
		}
	}
	p.mu.Unlock()
	return shutdown(victims)
}

// Close ends all members.
func (p *Peers) Close() error {
	var errs []error
	for _, region := range p.regions() {
		errs = append(errs, p.Kill(region))
	}
	return errors.Join(errs...)
}

func (p *Peers) regions() []string {
	var all []string
	seen := map[string]bool{}
	for _, m := range p.members {
		if !seen[m.Region] {
			seen[m.Region] = true
			all = append(all, m.Region)
		}
	}
	return all
}

// shutdown ends members at the same time.
func shutdown(all []*memberlist.Memberlist) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, list := range all {
		wg.Go(func() { errs[i] = list.Shutdown() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Revive brings the dead members of a region back to life.
func (p *Peers) Revive(region string) error {
	var dead []*member
	p.mu.Lock()
	for _, m := range p.members {
		if m.Region == region && m.list == nil {
			dead = append(dead, m)
		}
	}
	p.mu.Unlock()
	var errs []error
	for _, m := range dead {
		errs = append(errs, m.begin())
	}
	return errors.Join(errs...)
}

// AllKnow is when the last living member outside a region learned that the last
// of that region is dead; false while there is one that does not know. Who took
// one for dead before it was knew it in time.
func (p *Peers) AllKnow(region string, since time.Time) (time.Time, bool) {
	last := since
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		if m.Region == region || m.list == nil {
			continue
		}
		for _, of := range p.members {
			if of.Region != region {
				continue
			}
			if _, lives := m.view[of.Name]; lives {
				return time.Time{}, false
			}
			if at := m.lost[of.Name]; at.After(last) {
				last = at
			}
		}
	}
	return last, true
}

// Whole reports whether every living member knows that every other one lives.
func (p *Peers) Whole() bool { return len(p.missing()) == 0 }

// missing are, for each member that does not know of all, one that it lacks.
func (p *Peers) missing() map[*member]*member {
	lacks := map[*member]*member{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		for _, of := range p.members {
			if _, lives := m.view[of.Name]; m.list != nil && of.list != nil && !lives {
				lacks[m] = of
			}
		}
	}
	return lacks
}

// Rejoin has every member join one that it lacks, as what is built on memberlist
// does: once it has forgotten a dead member it never asks it again.
func (p *Peers) Rejoin() {
	var wg sync.WaitGroup
	for m, of := range p.missing() {
		p.mu.Lock()
		list := m.list
		p.mu.Unlock()
		if list != nil {
			wg.Go(func() { _, _ = list.Join([]string{of.address()}) }) // there is another try
		}
	}
	wg.Wait()
}

// Mend rejoins until all know each other or the time is over.
func (p *Peers) Mend(within time.Duration) bool {
	for deadline := time.Now().Add(within); time.Now().Before(deadline); {
		if p.Whole() {
			return true
		}
		p.Rejoin()
		for pause := time.Now().Add(5 * time.Second); time.Now().Before(pause) && !p.Whole(); {
			time.Sleep(100 * time.Millisecond)
		}
	}
	return p.Whole()
}
