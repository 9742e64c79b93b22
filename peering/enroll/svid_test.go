package enroll_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/internal/peertest"
	"github.com/federator/federator/peering/pb"
)

// podOf is a pod that asks for shop/web at the given addresses.
func podOf(t *testing.T, w *world, addresses ...string) enroll.SVIDRequest {
	t.Helper()
	return enroll.SVIDRequest{
		ID: identity.WorkloadID(peertest.TrustDomain, "shop", "web"), Region: "us-west", Cluster: "west-1",
		Pins: w.domain.Pins(), Addresses: addresses, Token: "for shop/web", Key: key(t),
	}
}

func TestAPodGetsTheCertificateOfItsServiceAccount(t *testing.T) {
	w := newWorld(t)
	got, err := joiner().FetchSVID(t.Context(), podOf(t, w, closedPort(t), w.address))
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.ParseID(got.Leaf.URIs[0])
	if err != nil || id != identity.WorkloadID(peertest.TrustDomain, "shop", "web") || len(got.Chain) != 3 || len(got.Roots) != 1 || got.Address != w.address {
		t.Errorf("found %s, %v, %+v", id, err, got)
	}
	if strings.Contains(w.log.String(), "for shop") {
		t.Error("the token is in the log")
	}
}

func TestATokenIsSentToNobodyButAReplicaOfThePodsCluster(t *testing.T) {
	w, evil := newWorld(t), newWorld(t)
	for name, tt := range map[string]struct {
		change func(*enroll.SVIDRequest)
		says   string
	}{
		"another federation":   {func(r *enroll.SVIDRequest) { r.Addresses = []string{evil.address} }, "pinned"},
		"another pin":          {func(r *enroll.SVIDRequest) { r.Pins = []identity.KeyID{{1}} }, "pinned"},
		"no pin":               {func(r *enroll.SVIDRequest) { r.Pins = nil }, "without a pin"},
		"another region":       {func(r *enroll.SVIDRequest) { r.Region = "eu-central" }, "eu-central"},
		"another cluster":      {func(r *enroll.SVIDRequest) { r.Cluster = "west-2" }, `expected a replica of cluster west-2, found one of "west-1"`},
		"no cluster":           {func(r *enroll.SVIDRequest) { r.Cluster = "" }, "expected a replica of cluster"},
		"another trust domain": {func(r *enroll.SVIDRequest) { r.ID.TrustDomain = "b.example" }, "b.example"},
	} {
		r := podOf(t, w, w.address)
		tt.change(&r)
		_, err := joiner().FetchSVID(t.Context(), r)
		if !errors.Is(err, enroll.ErrNotOurs) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "token was not sent") {
			t.Errorf("%s: expected to be told %q, found %v", name, tt.says, err)
		}
	}
	if n := len(w.tokensSeen) + len(evil.tokensSeen); n > 0 {
		t.Errorf("%d tokens were sent", n)
	}
}

func TestARefusedPodIsNotAskedForAgainAndAnUnansweredOneIs(t *testing.T) {
	w := newWorld(t)
	r := podOf(t, w, w.address)
	r.Token = "stolen"
	if _, err := joiner().FetchSVID(t.Context(), r); !errors.Is(err, enroll.ErrNotAttested) || !strings.Contains(err.Error(), "does not know it") {
		t.Errorf("found %v", err)
	}
	if len(w.tokensSeen) != 1 {
		t.Errorf("a refused token was sent %d times", len(w.tokensSeen))
	}
	w.failSVID = fmt.Errorf("%w: the API server is away", enroll.ErrUnavailable)
	w.tokensSeen = nil
	if _, err := joiner().FetchSVID(t.Context(), podOf(t, w, w.address)); !errors.Is(err, enroll.ErrUnavailable) || len(w.tokensSeen) < 2 {
		t.Errorf("expected it to be tried again, found %d attempts, %v", len(w.tokensSeen), err)
	}
	w.failSVID = enroll.ErrNoCluster
	other := newWorld(t)
	if _, err := joiner().FetchSVID(t.Context(), podOf(t, w, w.address, other.address)); !errors.Is(err, enroll.ErrNoCluster) || !errors.Is(err, enroll.ErrNotOurs) {
		t.Errorf("expected each address to say why, found %v", err)
	}
}

func TestAPodVerifiesItsCertificateAgainstThePins(t *testing.T) {
	other := peertest.New(t)
	other.Region("us-west")
	stranger := func(namespace string) [][]byte {
		chain, err := other.Region("us-west").SignWorkload(identity.WorkloadRequest{Namespace: namespace, ServiceAccount: "web", PublicKey: key(t).Public()}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return chain
	}
	for name, change := range map[string]func(*world, *pb.IssueSVIDResponse){
		"no chain":             func(_ *world, r *pb.IssueSVIDResponse) { r.SvidChain = nil },
		"no trust list":        func(_ *world, r *pb.IssueSVIDResponse) { r.TrustList = nil },
		"another's trust list": func(_ *world, r *pb.IssueSVIDResponse) { r.TrustList = other.List() },
		"another's signature":  func(_ *world, r *pb.IssueSVIDResponse) { r.SvidChain = stranger("shop") },
		"a replica's": func(w *world, r *pb.IssueSVIDResponse) {
			r.SvidChain = w.domain.Replica("us-west", "b", time.Now()).Source.Chain()
		},
		"another key": func(w *world, r *pb.IssueSVIDResponse) {
			r.SvidChain, _ = w.domain.Region("us-west").SignWorkload(identity.WorkloadRequest{Namespace: "shop", ServiceAccount: "web", PublicKey: key(t).Public()}, time.Now())
		},
	} {
		w := newWorld(t)
		w.answerSVID = func(r *pb.IssueSVIDResponse) { change(w, r) }
		if _, err := joiner().FetchSVID(t.Context(), podOf(t, w, w.address)); !errors.Is(err, enroll.ErrAnswer) {
			t.Errorf("%s: expected ErrAnswer, found %v", name, err)
		}
	}
}

func TestBadRequestsOfPodsAreRefusedBeforeAnybodyIsAsked(t *testing.T) {
	w := newWorld(t)
	c := w.client(t)
	csr := func(id identity.ID) []byte {
		der, err := identity.NewRequest(key(t), id, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for name, req := range map[string]*pb.IssueSVIDRequest{
		"nothing":         {},
		"no token":        {Csr: csr(identity.ID{})},
		"a huge token":    {Csr: csr(identity.ID{}), Token: strings.Repeat("a", enroll.MaxPodToken+1)},
		"no request":      {Token: "for shop/web"},
		"not a request":   {Token: "for shop/web", Csr: []byte{1}},
		"an unsigned one": {Token: "for shop/web", Csr: append(csr(identity.ID{})[:100], 1)},
		"for a replica":   {Token: "for shop/web", Csr: csr(identity.ReplicaID(peertest.TrustDomain, "us-west", "first"))},
		"for an operator": {Token: "for shop/web", Csr: csr(identity.OperatorID(peertest.TrustDomain, "jo"))},
	} {
		if _, err := c.IssueSVID(t.Context(), req); !errors.Is(enroll.FromStatus(err), enroll.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(w.tokensSeen) > 0 {
		t.Errorf("%d tokens were looked at", len(w.tokensSeen))
	}
	if _, err := c.IssueSVID(t.Context(), &pb.IssueSVIDRequest{Token: "for shop/web", Csr: csr(identity.WorkloadID(peertest.TrustDomain, "bank", "vault"))}); !errors.Is(enroll.FromStatus(err), enroll.ErrInvalid) {
		t.Errorf("another account than the token's: %v", err)
	}
}
