package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// issuer is a stand-in for a voter: it signs, or fails as told, and counts.
type issuer struct {
	by  *Intermediate
	ttl time.Duration

	mu    sync.Mutex
	fail  error
	calls []time.Time
}

func (i *issuer) renew(_ context.Context, csr []byte) ([][]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calls = append(i.calls, time.Now())
	if i.fail != nil {
		return nil, i.fail
	}
	r, err := ParseRequest(csr)
	if err != nil {
		return nil, err
	}
	return i.by.SignRequest(r, i.ttl, time.Now())
}

func (i *issuer) set(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = err
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.calls)
}

func newRenewer(w *world, s *Source, renew RenewFunc) *Renewer {
	return &Renewer{Source: s, Verifier: w.trust, ID: ReplicaID(td, "us-west", "a"), Renew: renew, Now: time.Now,
		Jitter: func() float64 { return 0 }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: NewRenewerMetrics(nil)}
}

// run starts the renewer inside a synctest bubble and stops it at the end.
func run(t *testing.T, r *Renewer) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() { cancel(); check(t, <-done) })
}

func TestACertificateIsRenewedAtHalfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Now())
		i := &issuer{by: w.west, ttl: 24 * time.Hour}
		s := w.replica(w.west, "a", 24*time.Hour)
		r := newRenewer(w, s, i.renew)
		run(t, r)
		synctest.Wait()
		if at := r.State().RenewAt; !at.Equal(w.now.Add(12 * time.Hour)) {
			t.Fatalf("renewal is due at %s", at)
		}
		time.Sleep(12*time.Hour - time.Second)
		if i.count() != 0 {
			t.Fatal("renewed too early")
		}
		time.Sleep(time.Minute)
		if i.count() != 1 || !s.NotAfter().After(w.now.Add(35*time.Hour)) {
			t.Fatalf("%d renewals, valid to %s", i.count(), s.NotAfter())
		}
		time.Sleep(10 * 24 * time.Hour)
		if n := i.count(); n != 21 {
			t.Fatalf("expected 21 renewals in 10.5 days, found %d", n)
		}
	})
}

func TestAReplicaWithoutOrWithAnExpiredCertificateRenewsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Now())
		for _, s := range []*Source{must(NewSource())(t), w.replica(w.west, "a", time.Hour)} {
			time.Sleep(60 * time.Hour) // a weekend
			i := &issuer{by: w.west, ttl: time.Hour}
			run(t, newRenewer(w, s, i.renew))
			synctest.Wait()
			if i.count() != 1 || !s.Valid(time.Now()) {
				t.Fatalf("%d attempts, valid to %s", i.count(), s.NotAfter())
			}
		}
	})
}

func TestFailedRenewalsAreRetriedWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Now())
		i := &issuer{by: w.west, ttl: time.Hour, fail: errors.New("no voter answers")}
		s := w.replica(w.west, "a", time.Hour)
		r := newRenewer(w, s, i.renew)
		reg := prometheus.NewRegistry()
		r.Metrics = NewRenewerMetrics(reg)
		run(t, r)
		time.Sleep(40 * time.Minute)
		n := i.count()
		if n < 10 || n > 40 {
			t.Fatalf("%d attempts in ten minutes", n)
		}
		st := r.State()
		if st.Failures != n || !strings.Contains(fmt.Sprint(st.LastError), "no voter answers") {
			t.Fatalf("state %+v", st)
		}
		i.set(nil)
		time.Sleep(wakeEvery + lastRetry)
		if st := r.State(); st.Failures != 0 || st.LastError != nil || !s.Valid(time.Now().Add(50*time.Minute)) {
			t.Fatalf("not recovered: %+v", st)
		}
		families := must(reg.Gather())(t)
		if got := families[0].GetMetric(); len(got) != 2 || got[0].GetCounter().GetValue() < float64(n) || got[1].GetCounter().GetValue() != 1 {
			t.Fatalf("found metrics %s", families)
		}
	})
}

func TestShortCertificatesAreRenewedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Now())
		i := &issuer{by: w.west, ttl: 10 * time.Second}
		s := w.replica(w.west, "a", i.ttl)
		run(t, newRenewer(w, s, i.renew))
		for range 600 {
			time.Sleep(time.Second)
			if !s.Valid(time.Now()) {
				t.Fatal("the certificate ran out")
			}
		}
		if n := i.count(); n < 100 || n > 150 {
			t.Fatalf("%d renewals in ten minutes", n)
		}
	})
}

func TestARetryOfAShortCertificateComesSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Now())
		i := &issuer{by: w.west, ttl: 10 * time.Second, fail: errors.New("no voter answers")}
		s := w.replica(w.west, "a", i.ttl)
		run(t, newRenewer(w, s, i.renew))
		time.Sleep(time.Hour)
		i.set(nil)
		time.Sleep(2 * time.Second)
		if !s.Valid(time.Now()) {
			t.Fatal("not renewed two seconds after the voters came back")
		}
	})
}

func TestAClockFarAheadDoesNotRenewInALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Now())
		i := &issuer{by: w.west, ttl: 24 * time.Hour}
		r := newRenewer(w, w.replica(w.west, "a", 24*time.Hour), i.renew)
		r.Now = func() time.Time { return time.Now().Add(20 * time.Hour) }
		run(t, r)
		time.Sleep(time.Hour)
		if n := i.count(); n > 150 {
			t.Fatalf("%d renewals in an hour", n)
		}
	})
}

func TestABadAnswerNeverReplacesTheCertificate(t *testing.T) {
	w := newWorld(t, start.Add(-24*time.Hour))
	w.now = start
	other := newWorld(t, start)
	s := w.replica(w.west, "a", time.Hour)
	sign := func(by *Intermediate, name string, key *Source, now time.Time) [][]byte {
		return must(by.SignReplica(ReplicaRequest{Name: name, PublicKey: key.Signer().Public(), TTL: time.Hour}, now))(t)
	}
	cases := map[string]struct {
		chain [][]byte
		want  string
	}{
		"nothing":            {nil, "chain of 0"},
		"another key":        {sign(w.west, "a", must(NewSource())(t), w.now), "does not belong"},
		"another name":       {sign(w.west, "b", s, w.now), "expected spiffe://acme.example/federator/us-west/a"},
		"another federation": {sign(other.west, "a", s, w.now), "not in the trust list"},
		"without the root":   {sign(w.west, "a", s, w.now)[:2], "intermediate and root"},
		"already expired":    {sign(w.west, "a", s, w.now.Add(-2*time.Hour)), "check NTP"},
	}
	before := s.Leaf()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRenewer(w, s, func(context.Context, []byte) ([][]byte, error) { return c.chain, nil })
			r.Now = func() time.Time { return w.now.Add(time.Minute) }
			if err := r.RenewNow(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("expected %q, found %v", c.want, err)
			}
			if s.Leaf() != before {
				t.Fatal("the certificate was replaced")
			}
		})
	}
}

func TestJitterOnlyRenewsEarlier(t *testing.T) {
	w := newWorld(t, start)
	leaf := w.replica(w.west, "a", 10*time.Hour).Leaf()
	for jitter, want := range map[float64]time.Duration{0: 5 * time.Hour, 0.5: 4*time.Hour + 30*time.Minute, 1: 4 * time.Hour} {
		if got := RenewAt(leaf, jitter).Sub(start); got != want {
			t.Errorf("jitter %v: expected %s, found %s", jitter, want, got)
		}
	}
}

func TestTheStateSaysTheLifeWithoutTheBackdating(t *testing.T) {
	w := newWorld(t, start)
	r := newRenewer(w, w.replica(w.west, "a", 2*time.Minute), nil)
	if s := r.State(); s.Life != 2*time.Minute || s.NotAfter.Sub(s.NotBefore) != 2*time.Minute+Backdate {
		t.Errorf("expected a life of two minutes within a validity that is longer by %v, found %v of %v to %v", Backdate, s.Life, s.NotBefore, s.NotAfter)
	}
}
