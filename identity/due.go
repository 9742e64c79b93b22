package identity

import (
	"crypto/x509"
	"time"
)

// dueTime remembers when a certificate is to be renewed, so that its jitter is
// drawn once for each.
type dueTime struct {
	leaf *x509.Certificate
	at   time.Time
}

func (d *dueTime) of(leaf *x509.Certificate, jitter func() float64) time.Time {
	if d.leaf != leaf {
		d.leaf, d.at = leaf, RenewAt(leaf, jitter())
	}
	return d.at
}

// RenewAt is half-way through the life that a certificate had when it was
// issued, or up to a tenth of that life earlier, so that replicas that started
// together do not renew together. jitter is in [0, 1).
func RenewAt(leaf *x509.Certificate, jitter float64) time.Time {
	life := lifeOf(leaf)
	return leaf.NotAfter.Add(-life/2 - time.Duration(float64(life)/10*jitter))
}

// lifeOf is how long the certificate was meant to be used, without the backdating.
func lifeOf(leaf *x509.Certificate) time.Duration {
	if life := leaf.NotAfter.Sub(leaf.NotBefore) - Backdate; life > 0 {
		return life
	}
	return leaf.NotAfter.Sub(leaf.NotBefore)
}
