package svid

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/federator/federator/identity"
)

func TestRenewalIsHalfWayWithANewKey(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.keeper(dir).Run(ctx) }()
		synctest.Wait()
		if a.made.Load() != 1 {
			t.Fatalf("%d certificates at once", a.made.Load())
		}
		time.Sleep(29 * time.Minute)
		synctest.Wait()
		if a.made.Load() != 1 {
			t.Errorf("%d certificates before half of the life", a.made.Load())
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if a.made.Load() != 2 {
			t.Errorf("%d certificates after half of the life", a.made.Load())
		}
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		if a.made.Load() != 12 {
			t.Errorf("%d certificates in five and a half hours", a.made.Load())
		}
		if n := len(slices.Compact(keyIDs(t, a))); n != 12 {
			t.Errorf("%d keys for 12 certificates", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func keyIDs(t *testing.T, a *authority) []string {
	t.Helper()
	var out []string
	for _, k := range a.keys {
		spki, err := identity.MarshalPublic(k)
		must(t, err)
		out = append(out, identity.SPKIKeyID(spki).String())
	}
	slices.Sort(out)
	return out
}

func TestAFailedRenewalIsTriedAgainAndTheOldFilesStay(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.keeper(dir).Run(ctx) }()
		synctest.Wait()
		a.fail.Store(20) // some twelve minutes
		time.Sleep(35 * time.Minute)
		synctest.Wait()
		if leaf, err := Load(dir, web()); err != nil || leaf == nil || a.made.Load() != 1 || a.fail.Load() == 20 || a.fail.Load() < 10 {
			t.Errorf("expected the old certificate and few attempts, found %v, %v, %d left to fail", leaf, err, a.fail.Load())
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if a.made.Load() != 2 {
			t.Errorf("%d certificates once it is back", a.made.Load())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTheFirstFailureEndsIt(t *testing.T) {
	a := newAuthority(t)
	a.fail.Store(1)
	if err := a.keeper(t.TempDir()).Run(t.Context()); !errors.Is(err, errAway) {
		t.Errorf("found %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.fail.Store(1)
	if err := a.keeper(t.TempDir()).Run(ctx); err != nil {
		t.Errorf("to be ended is no failure: %v", err)
	}
}

func TestWhatAnInitContainerFetchedIsKeptUntilItIsDue(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		_, err := a.keeper(dir).Once(t.Context())
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		time.Sleep(10 * time.Minute)
		var said bytes.Buffer
		keeper := a.keeper(dir)
		keeper.Log = slog.New(slog.NewTextHandler(&said, nil))
		go func() { done <- keeper.Run(ctx) }()
		synctest.Wait()
		if a.made.Load() != 1 {
			t.Errorf("%d certificates", a.made.Load())
		}
		due := time.Now().Add(20 * time.Minute).UTC().Format(time.RFC3339)
		time.Sleep(21 * time.Minute)
		synctest.Wait()
		if a.made.Load() != 2 {
			t.Errorf("%d certificates once it is due", a.made.Load())
		}
		cancel()
		must(t, <-done)
		if text := said.String(); !strings.Contains(text, "is kept") || !strings.Contains(text, web().String()) || !strings.Contains(text, "due="+due) {
			t.Errorf("expected to be told what is kept and that it is due at %s, found %q", due, text)
		}

		time.Sleep(2 * time.Hour) // and it expires
		a.fail.Store(1)
		if err := a.keeper(dir).Run(t.Context()); !errors.Is(err, errAway) {
			t.Errorf("an expired certificate was kept: %v", err)
		}
	})
}

func TestAClockThatJumpsIsNoticed(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		k := a.keeper(dir)
		var asleep atomic.Int64
		k.Now = func() time.Time { return time.Now().Add(time.Duration(asleep.Load())) }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		synctest.Wait()
		asleep.Store(int64(31 * time.Minute))
		time.Sleep(look)
		synctest.Wait()
		if a.made.Load() != 2 {
			t.Errorf("%d certificates", a.made.Load())
		}
		// The authority's clock has not jumped: whatever it signs looks due.
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if a.made.Load() < 3 || a.made.Load() > 12 {
			t.Errorf("%d certificates in ten minutes of clocks that are apart", a.made.Load())
		}
		cancel()
		must(t, <-done)
	})
}

func TestAClockThatIsSetBackDoesNotPutARenewalOff(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		k := a.keeper(dir)
		var back atomic.Int64
		k.Now = func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		synctest.Wait()
		back.Store(int64(10 * time.Hour))
		time.Sleep(35 * time.Minute)
		synctest.Wait()
		if n := a.made.Load(); n != 2 {
			t.Errorf("expected the certificate to be renewed half-way through its life, found %d certificates", n)
		}
		cancel()
		must(t, <-done)
	})
}

func TestAHeadlessServiceStandsForEveryReplica(t *testing.T) {
	lookup := func(_ context.Context, host string) ([]string, error) {
		if host != "peers.svc" {
			return nil, errors.New("no such host")
		}
		return []string{"10.0.0.1", "10.0.0.2", "fd00::3"}, nil
	}
	reverse := func(n int, swap func(i, j int)) {
		for i := range n / 2 {
			swap(i, n-1-i)
		}
	}
	got, err := Agents(t.Context(), lookup, reverse, []string{"peers.svc:7443", "gone.svc:7443", "192.0.2.1:1", "[fd00::9]:2"})
	want := []string{"[fd00::3]:7443", "10.0.0.2:7443", "10.0.0.1:7443", "192.0.2.1:1", "[fd00::9]:2"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("expected %v, found %v, %v", want, got, err)
	}
	for _, bad := range []string{"peers.svc", "", ":7443", "gone.svc:7443"} {
		if got, err := Agents(t.Context(), lookup, reverse, []string{bad}); err == nil {
			t.Errorf("%q: found %v", bad, got)
		}
	}
}
