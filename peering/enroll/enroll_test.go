package enroll_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/internal/peertest"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/token"
)

func TestAReplicaJoinsAnExistingRegion(t *testing.T) {
	w := newWorld(t)
	tok := w.issue(w.address)
	r := request(t, "us-west", "west-1", "b")
	got, err := joiner().Join(t.Context(), tok, r)
	if err != nil {
		t.Fatal(err)
	}
	if got.Founding || got.Epoch != 1 || got.AuthorityRegion != "us-west" || got.Address != w.address || len(got.Directory) != 1 {
		t.Errorf("found %+v", got)
	}
	v := identity.NewVerifier(peertest.TrustDomain, w.domain.Root.Certificate)
	if _, err := v.Update(got.TrustList); err != nil {
		t.Fatal(err)
	}
	if id, err := v.VerifyChain(got.Chain, time.Now()); err != nil || id.Name != "b" {
		t.Errorf("expected a chain for b, found %s, %v", id, err)
	}
}

func TestAReplicaFoundsANewRegion(t *testing.T) {
	w := newWorld(t)
	r := request(t, "eu-central", "eu-1", "a")
	got, err := joiner().Join(t.Context(), w.issue(w.address), r)
	if err != nil {
		t.Fatal(err)
	}
	der, err := identity.MarshalKey(r.IntermediateKey)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := identity.OpenIntermediate(got.Intermediate, got.Roots[0], der)
	if err != nil || !got.Founding || ca.Region != "eu-central" {
		t.Errorf("expected a CA for eu-central, found %+v, %v", got, err)
	}
}

func TestARetryWithTheSameKeyGetsTheSameAdmission(t *testing.T) {
	w := newWorld(t)
	tok, r := w.issue(w.address), request(t, "us-west", "west-1", "b")
	w.lose = 2
	if _, err := joiner().Join(t.Context(), tok, r); err != nil {
		t.Fatalf("expected a retry to succeed, found %v", err)
	}
	w.change(tok.ID, func(rec *enroll.TokenRecord) { rec.Expires = time.Now().Add(-time.Minute) })
	if _, err := joiner().Join(t.Context(), tok, r); err != nil {
		t.Errorf("a late repeat by the same key: %v", err)
	}
	if len(w.replicas) != 1 {
		t.Errorf("expected one replica, found %d", len(w.replicas))
	}
}

func TestEachRefusalHasItsOwnErrorAndChangesNothing(t *testing.T) {
	tests := []struct {
		name string
		want error
		says string
		set  func(*world, *token.Token, *enroll.Request)
	}{
		{"unknown token", enroll.ErrUnknownToken, "does not know", func(_ *world, tok *token.Token, _ *enroll.Request) { tok.ID = "0123456789abcdef" }},
		{"wrong secret", enroll.ErrUnknownToken, "does not know", func(_ *world, tok *token.Token, _ *enroll.Request) { tok.Secret[0] ^= 1 }},
		{"expired", enroll.ErrExpired, "it expired at", func(w *world, tok *token.Token, _ *enroll.Request) {
			w.change(tok.ID, func(r *enroll.TokenRecord) { r.Expires = time.Now().Add(-time.Second) })
		}},
		{"reused", enroll.ErrReused, "used already", func(w *world, tok *token.Token, _ *enroll.Request) {
			w.change(tok.ID, func(r *enroll.TokenRecord) { r.UsedBy = identity.KeyID{1} })
		}},
		{"restricted", enroll.ErrRestricted, `cluster "west-9"`, func(w *world, tok *token.Token, _ *enroll.Request) {
			w.change(tok.ID, func(r *enroll.TokenRecord) { r.Cluster = "west-9" })
		}},
		{"name taken", enroll.ErrNameTaken, "since noon", func(w *world, _ *token.Token, r *enroll.Request) {
			w.replicas["us-west/b"] = catalog.Replica{Name: "b", PublicKey: []byte("another")}
		}},
		{"cluster of another region", enroll.ErrClusterOwned, "belongs to us-west", func(_ *world, _ *token.Token, r *enroll.Request) { r.Replica.Region = "eu-central" }},
		{"region removed", enroll.ErrRegionRemoved, "was removed", func(w *world, _ *token.Token, _ *enroll.Request) { w.fail = enroll.ErrRegionRemoved }},
		{"wrong pin", enroll.ErrWrongPin, "nothing secret was sent", func(_ *world, tok *token.Token, _ *enroll.Request) { tok.Pins = []identity.KeyID{{1}} }},
		{"wrong region in token", enroll.ErrWrongPin, "asia-east", func(_ *world, tok *token.Token, _ *enroll.Request) { tok.Region = "asia-east" }},
		{"wrong trust domain", enroll.ErrWrongPin, "evil.example", func(_ *world, tok *token.Token, _ *enroll.Request) { tok.TrustDomain = "evil.example" }},
		{"bad name", enroll.ErrInvalid, "DNS label", func(_ *world, _ *token.Token, r *enroll.Request) { r.Replica.Name = "Not A Label" }},
		{"address nobody can reach", enroll.ErrInvalid, "--advertise", func(_ *world, _ *token.Token, r *enroll.Request) { r.Replica.PeerAddress = "0.0.0.0:7443" }},
	}
	w := newWorld(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.fail, w.replicas = nil, map[string]catalog.Replica{}
			tok, r := w.issue(w.address), request(t, "us-west", "west-1", "b")
			tt.set(w, &tok, &r)
			before := w.tokens[tok.ID].UsedBy
			_, err := joiner().Join(t.Context(), tok, r)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("expected %q that says %q, found %v", tt.want, tt.says, err)
			}
			if w.admits != 0 || w.tokens[tok.ID].UsedBy != before {
				t.Error("the refusal changed something")
			}
		})
	}
}

func TestAServerThatIsNotProvenNeverSeesTheSecret(t *testing.T) {
	evil := newWorld(t) // its own root, same names
	honest := newWorld(t)
	tok := honest.issue(evil.address)
	// The evil region knows the token's id, and would take any secret.
	evil.tokens[tok.ID] = enroll.TokenRecord{}
	_, err := joiner().Join(t.Context(), tok, request(t, "us-west", "west-1", "b"))
	if !errors.Is(err, enroll.ErrWrongPin) {
		t.Fatalf("expected ErrWrongPin, found %v", err)
	}
	if strings.Contains(evil.log.String(), tok.ID) || evil.admits != 0 {
		t.Error("the evil server saw the request")
	}
}

func TestTheTokensAddressesAreTriedInTurn(t *testing.T) {
	w, evil := newWorld(t), newWorld(t)
	tok := w.issue(closedPort(t), evil.address, notFederator(t), w.address)
	got, err := joiner().Join(t.Context(), tok, request(t, "us-west", "west-1", "b"))
	if err != nil || got.Address != w.address {
		t.Fatalf("expected to join at the last address, found %+v, %v", got, err)
	}
}

func TestWhenNoAddressWorksEachSaysWhy(t *testing.T) {
	w, evil := newWorld(t), newWorld(t)
	closed, other := closedPort(t), notFederator(t)
	_, err := joiner().Join(t.Context(), w.issue(closed, evil.address, other), request(t, "us-west", "west-1", "b"))
	if !errors.Is(err, enroll.ErrUnreachable) || !errors.Is(err, enroll.ErrWrongPin) {
		t.Errorf("expected both reasons, found %v", err)
	}
	for _, s := range []string{closed + ": ", "refused", evil.address + ": ", "nothing secret was sent", other + ": ", "does not enrol"} {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("expected %q in %v", s, err)
		}
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// notFederator is a server that speaks something else.
func notFederator(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

func TestClocksTooFarApartAreNamedBeforeTheSecretIsSent(t *testing.T) {
	for _, skew := range []time.Duration{time.Hour, -time.Hour, 48 * time.Hour} {
		w := newWorld(t)
		j := joiner()
		j.Now = func() time.Time { return time.Now().Add(-skew) } // the server is ahead by skew
		_, err := j.Join(t.Context(), w.issue(w.address), request(t, "us-west", "west-1", "b"))
		if !errors.Is(err, enroll.ErrClockSkew) || w.admits != 0 {
			t.Fatalf("skew %s: expected ErrClockSkew and no admission, found %v", skew, err)
		}
		if want := skew.Abs().String(); !strings.Contains(err.Error(), want) {
			t.Errorf("expected the skew %s to be named, found %v", want, err)
		}
	}
}

func TestAServerThatMissedItsRenewalIsNamedAsSuch(t *testing.T) {
	later := func() time.Time { return time.Now().Add(72 * time.Hour) }
	w := newWorld(t, later)
	j := joiner()
	j.Now = later
	_, err := j.Join(t.Context(), w.issue(w.address), request(t, "us-west", "west-1", "b"))
	if !errors.Is(err, enroll.ErrClockSkew) || !strings.Contains(err.Error(), "not renewed") || w.admits != 0 {
		t.Errorf("expected the expired certificate to be named, found %v", err)
	}
}

func TestAnAnswerThatDoesNotVerifyIsRefused(t *testing.T) {
	other := peertest.New(t)
	other.Region("us-west")
	tests := map[string]func(*world, *pb.EnrollResponse){
		"another region":        func(_ *world, r *pb.EnrollResponse) { r.Region = "eu-central" },
		"no epoch":              func(_ *world, r *pb.EnrollResponse) { r.Epoch = 0 },
		"no chain":              func(_ *world, r *pb.EnrollResponse) { r.SvidChain = nil },
		"garbage chain":         func(_ *world, r *pb.EnrollResponse) { r.SvidChain = [][]byte{{1}, {2}} },
		"no trust list":         func(_ *world, r *pb.EnrollResponse) { r.TrustList = nil },
		"another's trust list":  func(_ *world, r *pb.EnrollResponse) { r.TrustList = other.List() },
		"founding without a CA": func(_ *world, r *pb.EnrollResponse) { r.Founding = true },
		"founding with a leaf":  func(_ *world, r *pb.EnrollResponse) { r.Founding, r.Intermediate = true, r.SvidChain[0] },
		"a chain of another key": func(w *world, r *pb.EnrollResponse) {
			r.SvidChain = w.domain.Replica("us-west", "b", time.Now()).Source.Chain()
		},
		"a chain of another name": func(w *world, r *pb.EnrollResponse) {
			r.SvidChain = w.domain.Replica("us-west", "c", time.Now()).Source.Chain()
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.answer = func(r *pb.EnrollResponse) { change(w, r) }
			if _, err := joiner().Join(t.Context(), w.issue(w.address), request(t, "us-west", "west-1", "b")); !errors.Is(err, enroll.ErrAnswer) {
				t.Errorf("expected ErrAnswer, found %v", err)
			}
		})
	}
}

func TestAnExpiredReplicaRenewsByItsRecordedKey(t *testing.T) {
	w := newWorld(t)
	r := request(t, "us-west", "west-1", "b")
	if _, err := joiner().Join(t.Context(), w.issue(w.address), r); err != nil {
		t.Fatal(err)
	}
	renew := enroll.RenewRequest{
		ID: identity.ReplicaID(peertest.TrustDomain, "us-west", "b"), Key: r.Key, Pins: w.domain.Pins(),
		Addresses: []string{closedPort(t), w.address},
	}
	got, err := joiner().Renew(t.Context(), renew)
	if err != nil || len(got.Chain) != 3 {
		t.Fatalf("expected a chain, found %+v, %v", got, err)
	}
	renew.Key = key(t)
	if _, err := joiner().Renew(t.Context(), renew); !errors.Is(err, enroll.ErrUnknownReplica) {
		t.Errorf("another key: expected ErrUnknownReplica, found %v", err)
	}
}

func TestNeitherLogsNorErrorsHoldASecret(t *testing.T) {
	w := newWorld(t)
	tok := w.issue(w.address)
	copy(tok.Secret[:], "very-secret-very-secret-very-sec")
	_, err := joiner().Join(t.Context(), tok, request(t, "us-west", "west-1", "b"))
	h := tok.Secret.Hash()
	w.change(tok.ID, func(r *enroll.TokenRecord) { r.SecretHash = h[:] })
	w.fail = errors.New("disk: /var/lib/x: input/output error")
	_, internal := joiner().Join(t.Context(), tok, request(t, "us-west", "west-1", "b"))
	if strings.Contains(internal.Error(), "/var/lib") {
		t.Errorf("a stranger learned of an internal error: %v", internal)
	}
	if !strings.Contains(w.log.String(), "/var/lib") {
		t.Error("expected the internal error in the log")
	}
	for _, s := range []string{err.Error(), internal.Error(), w.log.String()} {
		if strings.Contains(s, "very-secret") || strings.Contains(s, fmt.Sprintf("%x", "very-secret")) {
			t.Errorf("the secret shows in %q", s)
		}
	}
}

func TestEveryErrorKeepsItsMeaningAcrossTheWire(t *testing.T) {
	for _, err := range []error{
		enroll.ErrUnknownToken, enroll.ErrExpired, enroll.ErrReused, enroll.ErrRestricted, enroll.ErrNameTaken, enroll.ErrClusterOwned,
		enroll.ErrRegionRemoved, enroll.ErrRegionFounded, enroll.ErrIncompatible, enroll.ErrRevoked, enroll.ErrUnknownReplica,
		enroll.ErrInvalid, enroll.ErrTooMany, enroll.ErrUnavailable,
	} {
		wrapped := fmt.Errorf("%w: detail", err)
		wired, ok := enroll.ToStatus(wrapped)
		got := enroll.FromStatus(wired)
		if !ok || !errors.Is(got, err) || got.Error() != wrapped.Error() {
			t.Errorf("%v became %v", wrapped, got)
		}
		if again := enroll.FromCode(enroll.Code(wrapped), "x"); !errors.Is(again, err) {
			t.Errorf("%v: its code became %v", err, again)
		}
	}
	if _, ok := enroll.ToStatus(errors.New("private")); ok {
		t.Error("an error of nobody's must not cross")
	}
	if err := enroll.FromStatus(errors.New("strange")); !errors.Is(err, enroll.ErrUnavailable) {
		t.Errorf("a strange error: found %v", err)
	}
}
