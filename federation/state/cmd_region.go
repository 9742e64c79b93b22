package state

import (
	"cmp"
	"fmt"

	"github.com/federator/federator/federation/catalog"
)

// Found founds the region: the first command of every region. Repeating it with
// the same founder changes nothing.
type Found struct {
	TrustDomain string `json:"trustDomain"`
	Region      string `json:"region"`
	// Epoch is issued by the authority region; the first region takes 1.
	Epoch uint64 `json:"epoch"`
	// Authority makes the region the one that keeps the registry, and enters it
	// there itself.
	Authority bool `json:"authority,omitempty"`
	// Founder is the hex SHA-256 of the founding replica's SPKI.
	Founder string `json:"founder"`
	// Replica is the founding replica.
	Replica catalog.Replica `json:"replica"`
	// Intermediate is the DER of the region's CA certificate, if it has one yet.
	Intermediate []byte `json:"intermediate,omitempty"`
}

func (*Found) kind() Type { return TypeFound }

func (f *Found) audit() (string, string) {
	return f.Region, fmt.Sprintf("epoch %d, trust domain %s, founded by %s", f.Epoch, f.TrustDomain, f.Replica.Name)
}

func (f *Found) validate() error {
	switch {
	case f.TrustDomain == "" || len(f.TrustDomain) > 255:
		return ErrInvalid.withf("trust domain %q: expected a name of 1 to 255 bytes, for example acme.example", f.TrustDomain)
	case f.Epoch == 0:
		return ErrInvalid.withf("region %s: expected an epoch of 1 or more", f.Region)
	case f.Founder == "" || len(f.Founder) > maxIDBytes:
		return ErrInvalid.withf("region %s: expected the founder's key hash", f.Region)
	case f.Replica.Region != f.Region:
		return ErrInvalid.withf("replica %s is of region %q, not %q", f.Replica.Name, f.Replica.Region, f.Region)
	}
	return cmp.Or(label("region", f.Region), checkReplica(&f.Replica), checkDER(f.Intermediate))
}

func (f *Found) apply(c *change) (any, error) {
	if c.about.Epoch != 0 {
		same := c.about.Founder == f.Founder && c.about.Region == f.Region && c.about.TrustDomain == f.TrustDomain
		if !same {
			return nil, ErrFounded.withf("this data directory is of region %s of %s (founder %s), not of %s of %s; use another data directory",
				c.about.Region, c.about.TrustDomain, c.about.Founder, f.Region, f.TrustDomain)
		}
		return About(c.about), nil
	}
	c.about = About{
		TrustDomain: f.TrustDomain, Region: f.Region, Epoch: f.Epoch, Authority: f.Authority,
		Founder: f.Founder, Founded: c.meta.Time, Protocol: c.about.Protocol,
	}
	c.admit(f.Replica)
	if f.Authority {
		c.put(catalog.Record{Region: &catalog.Region{
			Name: f.Region, Epoch: f.Epoch, Founder: f.Founder, Clusters: []string{f.Replica.Cluster},
			Authority: true, Intermediate: f.Intermediate, Since: c.meta.Time,
		}})
	}
	return c.about, nil
}

// SetEpoch begins a new epoch of the own region after a recovery or restore;
// the authority region issued it ([NextEpoch]). The sequence starts over and
// the region may publish again.
type SetEpoch struct {
	Epoch uint64 `json:"epoch"`
}

func (*SetEpoch) kind() Type { return TypeSetEpoch }

func (e *SetEpoch) audit() (string, string) { return fmt.Sprint("epoch ", e.Epoch), "" }

func (e *SetEpoch) validate() error {
	if e.Epoch == 0 {
		return ErrInvalid.withf("expected an epoch of 1 or more")
	}
	return nil
}

func (e *SetEpoch) apply(c *change) (any, error) {
	if e.Epoch == c.about.Epoch && !c.about.NeedsEpoch {
		return c.about, nil
	}
	if e.Epoch <= c.about.Epoch {
		return nil, ErrStale.withf("epoch %d is not above the region's epoch %d; ask the authority region for the next one", e.Epoch, c.about.Epoch)
	}
	c.reset = true
	c.then(func() {
		c.restart(e.Epoch)
		c.about.NeedsEpoch = false
	})
	about := c.about
	about.Epoch, about.NeedsEpoch = e.Epoch, false
	return about, nil
}

// RaiseProtocol puts a newer protocol in force, once every replica of the region
// understands it. Replicas that do not are no longer admitted.
type RaiseProtocol struct {
	Protocol int `json:"protocol"`
}

func (*RaiseProtocol) kind() Type { return TypeRaiseProtocol }

func (r *RaiseProtocol) audit() (string, string) { return fmt.Sprint("protocol ", r.Protocol), "" }

func (r *RaiseProtocol) validate() error {
	if r.Protocol < 1 {
		return ErrInvalid.withf("expected a protocol of 1 or more, found %d", r.Protocol)
	}
	return nil
}

func (r *RaiseProtocol) apply(c *change) (any, error) {
	if r.Protocol < c.about.Protocol {
		return nil, ErrProtocol.withf("protocol %d is in force already and never goes back to %d", c.about.Protocol, r.Protocol)
	}
	for _, replica := range c.Replicas() {
		if replica.MaxProtocol < r.Protocol {
			return nil, ErrProtocol.withf("replica %s understands protocol %d only: upgrade it before raising the region to %d", replica.Name, replica.MaxProtocol, r.Protocol)
		}
	}
	c.then(func() { c.about.Protocol = r.Protocol })
	return nil, nil
}

// Audit records something that happened outside of this state.
type Audit struct {
	Action string `json:"action"`
	Target string `json:"target"`
	Detail string `json:"detail,omitempty"`
}

func (*Audit) kind() Type { return TypeAudit }

func (a *Audit) audit() (string, string) { return a.Target, a.Action + ": " + a.Detail }

func (a *Audit) validate() error {
	if a.Action == "" || a.Target == "" || len(a.Action)+len(a.Target) > maxActorBytes {
		return ErrInvalid.withf("audit: expected an action and a target of together at most %d bytes", maxActorBytes)
	}
	return nil
}

func (*Audit) apply(*change) (any, error) { return nil, nil }
