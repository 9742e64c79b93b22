package enroll_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/internal/peertest"
	"github.com/federator/federator/peering/pb"
)

func TestHostileRequestsAreRefusedBeforeTheBackendSeesThem(t *testing.T) {
	w := newWorld(t)
	client := w.client(t)
	tok, r := w.issue(w.address), request(t, "us-west", "west-1", "b")
	csr := func(region, name string) []byte {
		b, err := identity.NewRequest(r.Key, identity.ReplicaID(peertest.TrustDomain, region, name), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	base := func() *pb.EnrollRequest {
		return &pb.EnrollRequest{TokenId: tok.ID, Secret: tok.Secret[:], Csr: csr("us-west", "b"), Replica: enroll.ReplicaToWire(&r.Replica)}
	}
	tests := map[string]func(*pb.EnrollRequest){
		"nothing":                     func(q *pb.EnrollRequest) { proto.Reset(q) },
		"no replica":                  func(q *pb.EnrollRequest) { q.Replica = nil },
		"csr of another name":         func(q *pb.EnrollRequest) { q.Csr = csr("us-west", "first") },
		"csr of another region":       func(q *pb.EnrollRequest) { q.Csr = csr("eu-central", "b") },
		"garbage csr":                 func(q *pb.EnrollRequest) { q.Csr = []byte("garbage") },
		"garbage CA csr":              func(q *pb.EnrollRequest) { q.IntermediateCsr = []byte("garbage") },
		"CA key equal to replica key": func(q *pb.EnrollRequest) { q.IntermediateCsr = q.GetCsr() },
		"control characters in build": func(q *pb.EnrollRequest) { q.Replica.Build = "\x1b[2J" },
		"huge address":                func(q *pb.EnrollRequest) { q.Replica.PeerAddress = strings.Repeat("a", 9999) + ":1" },
		"no recipient":                func(q *pb.EnrollRequest) { q.Replica.Recipient = "age1nonsense" },
		"protocol range upside down":  func(q *pb.EnrollRequest) { q.Replica.MinProtocol = 7 },
	}
	for name, change := range tests {
		q := base()
		change(q)
		if _, err := client.Enroll(t.Context(), q); !errors.Is(enroll.FromStatus(err), enroll.ErrInvalid) {
			t.Errorf("%s: expected ErrInvalid, found %v", name, err)
		}
	}
	for _, secret := range [][]byte{nil, make([]byte, 32), make([]byte, 31), bytes.Repeat([]byte{1}, 100_000)} {
		q := base()
		q.Secret = secret
		if _, err := client.Enroll(t.Context(), q); !errors.Is(enroll.FromStatus(err), enroll.ErrUnknownToken) {
			t.Errorf("secret of %d bytes: expected ErrUnknownToken, found %v", len(secret), err)
		}
	}
	if _, err := client.Hello(t.Context(), &pb.HelloRequest{Nonce: make([]byte, 65)}); !errors.Is(enroll.FromStatus(err), enroll.ErrInvalid) {
		t.Errorf("long nonce: found %v", err)
	}
	if w.admits != 0 {
		t.Error("something was admitted")
	}
}

func TestAnAddressThatAsksTooOftenIsSlowedDown(t *testing.T) {
	now := time.Now() // stands still
	w := newWorld(t, func() time.Time { return now })
	client := w.client(t)
	for range 200 {
		if _, err := client.Hello(t.Context(), &pb.HelloRequest{}); err != nil {
			if !errors.Is(enroll.FromStatus(err), enroll.ErrTooMany) {
				t.Errorf("expected ErrTooMany, found %v", err)
			}
			return
		}
	}
	t.Error("expected 200 calls at once to be too many")
}

// FuzzEnroll feeds the server any message, for a token that nobody has.
func FuzzEnroll(f *testing.F) {
	d := peertest.New(f)
	backend := &region{t: f, domain: d, tokens: map[string]enroll.TokenRecord{}}
	r := request(f, "us-west", "west-1", "b")
	csr, err := identity.NewRequest(r.Key, identity.ReplicaID(peertest.TrustDomain, "us-west", "b"), nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	whole, err := proto.Marshal(&pb.EnrollRequest{TokenId: "x", Secret: make([]byte, 32), Csr: csr, IntermediateCsr: csr, Replica: enroll.ReplicaToWire(&r.Replica)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var q pb.EnrollRequest
		if proto.Unmarshal(b, &q) != nil {
			return
		}
		s := enroll.NewServer(backend, time.Now, slog.New(slog.DiscardHandler))
		_, err := s.Enroll(t.Context(), &q)
		got := enroll.FromStatus(err)
		if !errors.Is(got, enroll.ErrInvalid) && !errors.Is(got, enroll.ErrUnknownToken) {
			t.Errorf("expected a refusal, found %v", err)
		}
	})
}
