package svid

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

func web() identity.ID { return identity.WorkloadID("acme.example", "shop", "web") }

// authority signs for web, or for whom it is told, unless it is out of order.
type authority struct {
	t    *testing.T
	ca   *identity.Intermediate
	ttl  time.Duration
	fail atomic.Int64 // so many calls from now on
	made atomic.Int64
	keys []crypto.PublicKey
}

var errAway = errors.New("the API server is away")

func newAuthority(t *testing.T) *authority {
	t.Helper()
	root, err := identity.NewRoot("acme.example", time.Now())
	must(t, err)
	key, err := identity.NewKey()
	must(t, err)
	cert, err := root.SignIntermediate("us-west", 1, key.Public(), time.Now())
	must(t, err)
	der, err := identity.MarshalKey(key)
	must(t, err)
	ca, err := identity.OpenIntermediate(cert.Raw, root.Certificate.Raw, der)
	must(t, err)
	return &authority{t: t, ca: ca, ttl: time.Hour}
}

func (a *authority) fetch(_ context.Context, key crypto.Signer) (Fetched, error) {
	if a.fail.Load() > 0 {
		a.fail.Add(-1)
		return Fetched{}, errAway
	}
	chain, err := a.ca.SignWorkload(identity.WorkloadRequest{Namespace: "shop", ServiceAccount: "web", PublicKey: key.Public(), TTL: a.ttl}, time.Now())
	if err != nil {
		return Fetched{}, err
	}
	leaf, err := identity.ParseCertificate(chain[0])
	a.made.Add(1)
	a.keys = append(a.keys, key.Public())
	return Fetched{Chain: chain, Leaf: leaf, Roots: []*x509.Certificate{a.ca.Root}, From: "test"}, err
}

func (a *authority) keeper(dir string) *Keeper {
	return &Keeper{Dir: dir, ID: web(), Fetch: a.fetch, Now: time.Now, Jitter: func() float64 { return 0 }, Log: slog.New(slog.DiscardHandler)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
