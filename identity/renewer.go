package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// Timing of renewal.
const (
	// wakeEvery bounds how long the renewer trusts a timer: a machine that slept
	// wakes with a wall clock far ahead of its timers.
	wakeEvery = 30 * time.Second
	// attemptTimeout bounds one renewal.
	attemptTimeout = 30 * time.Second

	firstRetry = 500 * time.Millisecond
	lastRetry  = time.Minute
)

// RenewFunc has a request certified and returns leaf, intermediate, root in DER:
// by a voter of the region, or on a voter by its own [Intermediate].
type RenewFunc func(ctx context.Context, request []byte) (chain [][]byte, err error)

// Renewer keeps the certificate of a [Source] fresh. Fill it and call Run.
type Renewer struct {
	Source   *Source
	Verifier *Verifier
	// ID, DNSNames and IPs are what is asked for.
	ID       ID
	DNSNames []string
	IPs      []net.IP
	Renew    RenewFunc
	// Now is the wall clock; Jitter returns numbers in [0, 1).
	Now     func() time.Time
	Jitter  func() float64
	Logger  *slog.Logger
	Metrics *RenewerMetrics

	mu    sync.Mutex
	state RenewerState
	due   dueTime
}

// RenewerState is what status and check show.
type RenewerState struct {
	// NotBefore and NotAfter bound the certificate in use; zero if there is none.
	NotBefore, NotAfter time.Time
	// Life is how long that certificate was meant to be used when it was issued:
	// without the time by which it was backdated.
	Life time.Duration
	// RenewAt is when it will be renewed.
	RenewAt time.Time
	// LastSuccess is zero if nothing was renewed since the start.
	LastSuccess time.Time
	// Failures counts attempts since the last success; LastError is the latest.
	Failures  int
	LastError error
}

// RenewerMetrics are the figures of a renewer.
type RenewerMetrics struct {
	notAfter prometheus.Gauge
	renewals *prometheus.CounterVec
}

// NewRenewerMetrics registers the figures; reg may be nil.
func NewRenewerMetrics(reg prometheus.Registerer) *RenewerMetrics {
	m := &RenewerMetrics{
		notAfter: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "federator_identity_svid_not_after_seconds",
			Help: "When this replica's certificate expires, in seconds since the Unix epoch; 0 without one.",
		}),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "federator_identity_renewals_total",
			Help: "Attempts to renew this replica's certificate, by result (ok, error).",
		}, []string{"result"}),
	}
	if reg != nil {
		reg.MustRegister(m.notAfter, m.renewals)
	}
	return m
}

// Run renews at about half of each certificate's life until ctx ends, and at
// once if there is none or it has expired. Failures are retried with growing
// pauses. It always returns nil.
func (r *Renewer) Run(ctx context.Context) error {
	pause := newPause()
	for {
		wait := r.untilDue()
		if wait <= 0 {
			_ = r.RenewNow(ctx) // recorded there
			wait = r.untilDue()
		}
		// Still due: the attempt failed, or this clock runs so far ahead that the
		// new certificate is due already.
		if wait <= 0 {
			wait = r.retryIn(pause.NextBackOff())
		} else {
			pause.Reset()
		}
		if !sleep(ctx, min(wait, wakeEvery)) {
			return nil
		}
	}
}

// newPause returns the pauses between failed attempts, without randomness of its own.
func newPause() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier, b.RandomizationFactor = firstRetry, lastRetry, 2, 0
	b.Reset()
	return b
}

// retryIn spreads a pause over 75 to 100 % of itself, and keeps it well within
// the life of short certificates.
func (r *Renewer) retryIn(pause time.Duration) time.Duration {
	if leaf := r.Source.Leaf(); leaf != nil {
		pause = min(pause, max(firstRetry, lifeOf(leaf)/8))
	}
	return pause - time.Duration(float64(pause)/4*r.Jitter())
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// RenewNow makes one attempt, whether due or not: a voter whose certificate has
// expired calls it before it listens.
func (r *Renewer) RenewNow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	err := r.attempt(ctx)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return err // shutting down is not a failure to report
	}
	r.record(err)
	return err
}

func (r *Renewer) attempt(ctx context.Context) error {
	request, err := r.Source.Request(r.ID, r.DNSNames, r.IPs)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	raw, err := r.Renew(ctx, request)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	if err := r.accept(raw); err != nil {
		return fmt.Errorf("renew certificate: the answer is not usable: %w", err)
	}
	return nil
}

// accept uses a new chain if it is trusted, ours, and worth having by this clock.
func (r *Renewer) accept(raw [][]byte) error {
	id, err := r.Verifier.VerifyTrust(raw)
	if err != nil {
		return err
	}
	if id != r.ID {
		return fmt.Errorf("expected %s, found %s", r.ID, id)
	}
	leaf, err := ParseCertificate(raw[0])
	if err != nil {
		return err
	}
	now := r.Now()
	if now.After(leaf.NotAfter) {
		return checkTime("new certificate of "+id.String(), leaf, now)
	}
	if err := r.Source.Replace(raw); err != nil {
		return err
	}
	// Peers may have the better clock, so one from the future is used, and said.
	if err := checkTime("new certificate of "+id.String(), leaf, now); err != nil {
		r.Logger.Warn("the renewed certificate is not valid yet by this clock", "replica", r.ID.Name, "err", err)
	}
	return nil
}

func (r *Renewer) record(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Metrics.notAfter.Set(unixOrZero(r.Source.NotAfter()))
	if err != nil {
		r.state.Failures++
		r.state.LastError = err
		r.Metrics.renewals.WithLabelValues("error").Inc()
		r.Logger.Warn("certificate not renewed, will retry", "replica", r.ID.Name, "notAfter", r.Source.NotAfter(), "failures", r.state.Failures, "err", err)
		return
	}
	r.state.Failures, r.state.LastError, r.state.LastSuccess = 0, nil, r.Now()
	r.Metrics.renewals.WithLabelValues("ok").Inc()
	r.Logger.Info("certificate renewed", "replica", r.ID.Name, "notAfter", r.Source.NotAfter())
}

// State reports how renewal is going.
func (r *Renewer) State() RenewerState {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	if leaf := r.Source.Leaf(); leaf != nil {
		s.NotBefore, s.NotAfter, s.Life, s.RenewAt = leaf.NotBefore, leaf.NotAfter, lifeOf(leaf), r.due.of(leaf, r.Jitter)
	}
	return s
}

// untilDue is how long until the next renewal by the wall clock.
func (r *Renewer) untilDue() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	leaf := r.Source.Leaf()
	r.Metrics.notAfter.Set(unixOrZero(r.Source.NotAfter()))
	if leaf == nil {
		return 0
	}
	return r.due.of(leaf, r.Jitter).Sub(r.Now())
}

func unixOrZero(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}
