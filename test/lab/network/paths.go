package network

import (
	"errors"
	"time"

	"github.com/federator/federator/test/lab/network/wan"
)

// pairs calls do for every ordered pair of different regions.
func (n *Network) pairs(do func(from, to string) error) error {
	var errs []error
	for _, from := range n.regions {
		for _, to := range n.regions {
			if from != to {
				errs = append(errs, do(from.name, to.name))
			}
		}
	}
	return errors.Join(errs...)
}

// Base makes the link that of every path of the WAN, now and after [Network.Heal].
func (n *Network) Base(l wan.Link) error {
	n.mu.Lock()
	n.base = l
	n.mu.Unlock()
	return n.pairs(func(from, to string) error { return n.Set(from, to, l) })
}

// Set changes how the WAN carries what one region sends to another.
func (n *Network) Set(from, to string, l wan.Link) error {
	return n.carrier.with(func(r *wan.Router) error { return r.Set(from, to, l) })
}

// SetBoth is Set for both directions.
func (n *Network) SetBoth(a, b string, l wan.Link) error {
	return errors.Join(n.Set(a, b, l), n.Set(b, a, l))
}

// Link is how the WAN carries what one region sends to another.
func (n *Network) Link(from, to string) (l wan.Link, err error) {
	err = n.carrier.with(func(r *wan.Router) (err error) { l, err = r.Link(from, to); return err })
	return l, err
}

// Stats counts what one region sent to another.
func (n *Network) Stats(from, to string) (s wan.Stats, err error) {
	err = n.carrier.with(func(r *wan.Router) (err error) { s, err = r.Stats(from, to); return err })
	return s, err
}

// Late is for how long packets waited for this process at most since the last call,
// in the kernel before it took one or after one was due: it had no CPU for so long,
// though it goes before its hosts where it may. A network that was late for a second
// or more was an outage that nobody ordered.
func (n *Network) Late() time.Duration { return n.carrier.lateness() }

// Cut has nothing arrive any more of what one region sends to another, also not
// what is on its way. The other direction stays.
func (n *Network) Cut(from, to string) error {
	return n.carrier.with(func(r *wan.Router) error { return r.Cut(from, to, true) })
}

// Mend ends a Cut. The link is what it was.
func (n *Network) Mend(from, to string) error {
	return n.carrier.with(func(r *wan.Router) error { return r.Cut(from, to, false) })
}

// CutRegions cuts both directions between two regions, MendRegions mends them.
func (n *Network) CutRegions(a, b string) error { return errors.Join(n.Cut(a, b), n.Cut(b, a)) }

// MendRegions ends CutRegions.
func (n *Network) MendRegions(a, b string) error { return errors.Join(n.Mend(a, b), n.Mend(b, a)) }

// Isolate cuts a region from all others, both ways.
func (n *Network) Isolate(region string) error {
	if _, err := n.region(region); err != nil {
		return err
	}
	return n.pairs(func(from, to string) error {
		if from != region && to != region {
			return nil
		}
		return n.Cut(from, to)
	})
}

// Heal ends every fault: cuts and drops, and links that are not as [Network.Base]
// says.
func (n *Network) Heal() error {
	n.mu.Lock()
	base := n.base
	n.mu.Unlock()
	err := n.pairs(func(from, to string) error { return errors.Join(n.Mend(from, to), n.Set(from, to, base)) })
	for _, r := range n.regions {
		err = errors.Join(err, r.set(nil))
	}
	return err
}
