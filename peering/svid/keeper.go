package svid

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"

	"github.com/federator/federator/identity"
)

const (
	// firstPause is between the first two attempts to renew, maxPause between later
	// ones.
	firstPause = time.Second
	maxPause   = time.Minute
	// atLeast is between two renewals, whatever the clocks say.
	atLeast = time.Minute
	// look is how often the clock is read while nothing is due: it may jump, as when a
	// machine sleeps.
	look = time.Minute
)

// Fetched is a certificate that somebody gave, verified.
type Fetched struct {
	Chain [][]byte
	Leaf  *x509.Certificate
	Roots []*x509.Certificate
	// From is the address of who gave it, for people.
	From string
}

// Keeper keeps a certificate in a directory.
type Keeper struct {
	// Dir is where, ID whose.
	Dir string
	ID  identity.ID
	// Fetch gets a certificate for a key. It bounds its own time.
	Fetch func(ctx context.Context, key crypto.Signer) (Fetched, error)
	Now   func() time.Time
	// Jitter is in [0, 1), so that pods that started together do not renew together.
	Jitter func() float64
	Log    *slog.Logger
}

// Once fetches a certificate and writes it.
func (k *Keeper) Once(ctx context.Context) (Fetched, error) {
	key, err := identity.NewKey()
	if err != nil {
		return Fetched{}, err
	}
	got, err := k.Fetch(ctx, key)
	if err != nil {
		return Fetched{}, err
	}
	return got, Write(k.Dir, Bundle{Chain: got.Chain, Key: key, Roots: got.Roots})
}

// Run keeps the certificate valid until ctx ends. One that is in the directory
// already, as an init container leaves it, is kept until it is due. Without one the
// first is fetched at once, and a failure ends Run; later ones are tried again until
// one succeeds, while the old files stay.
func (k *Keeper) Run(ctx context.Context) error {
	leaf, err := Load(k.Dir, k.ID)
	if err != nil {
		k.Log.Warn("the certificate that is there is replaced", "error", err)
	}
	kept := leaf != nil && k.Now().Before(leaf.NotAfter)
	if !kept {
		got, err := k.Once(ctx)
		if err != nil {
			return ending(ctx, err)
		}
		leaf = got.Leaf
		k.told(got)
	}
	due := identity.RenewAt(leaf, k.Jitter())
	if kept {
		k.Log.Info("the certificate that is there is kept", "id", k.ID.String(), "dir", k.Dir, "until", leaf.NotAfter.Format(time.RFC3339), "due", due.Format(time.RFC3339))
	}
	for k.until(ctx, due) {
		got, ok := k.renew(ctx, leaf)
		if !ok {
			return nil
		}
		leaf = got.Leaf
		k.told(got)
		// If the clocks are apart, a new certificate may look old.
		if due = identity.RenewAt(leaf, k.Jitter()); due.Before(k.Now().Add(atLeast)) {
			due = k.Now().Add(atLeast)
		}
	}
	return nil
}

// renew tries until it succeeds; false if ctx ended.
func (k *Keeper) renew(ctx context.Context, old *x509.Certificate) (Fetched, bool) {
	pause := firstPause
	for {
		got, err := k.Once(ctx)
		if err == nil {
			return got, true
		}
		if ctx.Err() != nil {
			return Fetched{}, false
		}
		level, left := slog.LevelWarn, old.NotAfter.Sub(k.Now())
		if left <= 0 {
			level = slog.LevelError
		}
		k.Log.Log(ctx, level, "could not renew; trying again", "id", k.ID.String(), "until", old.NotAfter.Format(time.RFC3339), "left", left.Round(time.Second), "pause", pause, "error", err)
		if !sleep(ctx, pause+time.Duration(k.Jitter()*float64(pause))) {
			return Fetched{}, false
		}
		pause = min(2*pause, maxPause)
	}
}

func (k *Keeper) told(got Fetched) {
	k.Log.Info("a certificate is in place", "id", k.ID.String(), "dir", k.Dir, "until", got.Leaf.NotAfter.Format(time.RFC3339), "from", got.From)
}

// until waits for a time of the clock, and never longer than it was away at first: if
// the clock is set back meanwhile, others see the certificate age all the same. It
// returns false if ctx ended first.
func (k *Keeper) until(ctx context.Context, at time.Time) bool {
	for longest := at.Sub(k.Now()); ; {
		left := min(at.Sub(k.Now()), longest)
		if left <= 0 {
			return ctx.Err() == nil
		}
		pause := min(left, look)
		if !sleep(ctx, pause) {
			return false
		}
		longest -= pause
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// ending is no error if the end was asked for.
func ending(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("no certificate: %w", err)
}
