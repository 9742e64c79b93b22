package identity

import (
	"crypto/x509"
	"fmt"
	"time"
)

// TimeError says that a certificate is not valid now by this machine's clock,
// which may as well mean that a clock is wrong.
type TimeError struct {
	// Subject says whose certificate it is.
	Subject             string
	NotBefore, NotAfter time.Time
	// Now is what this machine's clock read.
	Now time.Time
}

// Apart is how far Now lies outside the validity: the clocks differ by at least
// this, unless an expired certificate was simply not renewed.
func (e *TimeError) Apart() time.Duration {
	if e.Now.Before(e.NotBefore) {
		return e.NotBefore.Sub(e.Now).Round(time.Second)
	}
	return e.Now.Sub(e.NotAfter).Round(time.Second)
}

func (e *TimeError) Error() string {
	valid := fmt.Sprintf("%s is valid from %s to %s, but this clock reads %s",
		e.Subject, stamp(e.NotBefore), stamp(e.NotAfter), stamp(e.Now))
	apart := fmt.Sprintf("the two clocks are at least %s apart; check NTP on both machines", e.Apart())
	if e.Now.Before(e.NotBefore) {
		return valid + ": " + apart
	}
	return fmt.Sprintf("%s: it expired %s ago: either it was not renewed, or %s", valid, e.Apart(), apart)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func checkTime(subject string, c *x509.Certificate, now time.Time) error {
	return window{c.NotBefore, c.NotAfter}.check(subject, now)
}

// window is a span of validity, both ends included.
type window struct{ from, to time.Time }

func (w window) check(subject string, now time.Time) error {
	if now.Before(w.from) || now.After(w.to) {
		return &TimeError{Subject: subject, NotBefore: w.from, NotAfter: w.to, Now: now}
	}
	return nil
}

// windowOf is the span in which all the certificates are valid at once.
func windowOf(certs ...*x509.Certificate) (window, error) {
	w := window{certs[0].NotBefore, certs[0].NotAfter}
	for _, c := range certs[1:] {
		w.from, w.to = later(w.from, c.NotBefore), earlier(w.to, c.NotAfter)
	}
	if w.from.After(w.to) {
		return w, fmt.Errorf("certificate chain of %q is never valid as a whole", certs[0].Subject.CommonName)
	}
	return w, nil
}

func (w window) middle() time.Time { return w.from.Add(w.to.Sub(w.from) / 2) }
