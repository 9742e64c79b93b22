package federation

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authentication "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/kube/attest"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
)

// podToken is a token that apiServer takes for the pod web-0 of shop/web, if good.
func podToken(good bool) string {
	signature := "c2lnbmF0dXJl"
	if !good {
		signature = "Zm9yZ2Vk"
	}
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"system:serviceaccount:shop:web"}`)) + "." + signature
}

// apiServer reviews tokens for a trust domain, as long as it is up.
type apiServer struct {
	mu    sync.Mutex
	asked int
	down  bool
}

func (s *apiServer) attends(a *agent) strangers {
	core := fake.NewClientset()
	core.PrependReactor("create", "tokenreviews", func(action kubetesting.Action) (bool, runtime.Object, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		if s.down {
			return true, nil, errors.New("connection refused")
		}
		review := action.(kubetesting.CreateAction).GetObject().(*authentication.TokenReview).DeepCopy()
		if review.Spec.Token != podToken(true) {
			review.Status.Error = "invalid bearer token"
			return true, review, nil
		}
		review.Status = authentication.TokenReviewStatus{
			Authenticated: true, Audiences: review.Spec.Audiences,
			User: authentication.UserInfo{
				Username: "system:serviceaccount:shop:web", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:shop"},
				Extra: map[string]authentication.ExtraValue{"authentication.kubernetes.io/pod-name": {"web-0"}, "authentication.kubernetes.io/pod-uid": {"u1"}},
			},
		}
		return true, review, nil
	})
	out, err := a.openStrangers()
	if err != nil {
		panic(err) // it registers nothing without Kubernetes
	}
	out.pods = attest.New(core, a.card.Replica.Cluster, a.card.TrustDomain)
	return out
}

// counted is how many requests had that result.
func (s strangers) counted(t *testing.T, result string) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(s.svids)
	all, err := reg.Gather()
	if err != nil || len(all) != 1 {
		t.Fatal(err, all)
	}
	for _, m := range all[0].GetMetric() {
		if m.GetLabel()[0].GetValue() == result {
			return m.GetCounter().GetValue()
		}
	}
	return 0
}

// attempt is a pod's request with a key of its own.
func attempt(t *testing.T, token string, id identity.ID) enroll.SVIDAttempt {
	t.Helper()
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := identity.NewRequest(key, id, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := identity.ParseRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	return enroll.SVIDAttempt{Token: token, CSR: csr, Request: parsed, Origin: "10.0.0.9:1"}
}

// admitInto is admit into a cluster of one's own choice.
func (a *agent) admitInto(t *testing.T, cluster, name string) *agent {
	t.Helper()
	p := place(t, a.card.Replica.Region, name)
	p.Cluster = cluster
	a.join(t, p)
	b := start(t, p, "")
	eventually(t, patience, "the region knows the replica and the replica the region", func() bool {
		return a.registered(name) && b.registered(name) && len(b.siblings()) > 0 && b.votersIn(a.card.Replica.Cluster) != nil
	})
	return b
}

func TestAVoterGivesAPodTheCertificateOfItsAccountAndSaysSo(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	api := &apiServer{}
	s := api.attends(west)
	web := identity.WorkloadID("test.example", "shop", "web")
	for _, id := range []identity.ID{{}, web} {
		answer, err := s.IssueSVID(t.Context(), attempt(t, podToken(true), id))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := west.verifier.VerifyChain(answer.GetSvidChain(), time.Now()); err != nil || got != web {
			t.Errorf("expected %s, found %s, %v", web, got, err)
		}
	}
	if n := s.counted(t, svidIssued); n != 2 {
		t.Errorf("%v are counted as issued", n)
	}
	log := west.logged(t)
	for _, want := range []string{"spiffe://test.example/ns/shop/sa/web", "pod=web-0", "uid=u1", "serial=", "peer=10.0.0.9:1"} {
		if !strings.Contains(log, want) {
			t.Errorf("expected the log to say %s, found %s", want, log)
		}
	}
	if strings.Contains(log, strings.Split(podToken(true), ".")[1]) {
		t.Error("the token is in the log")
	}
}

func TestAPodGetsNothingThatItsTokenDoesNotSay(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	api := &apiServer{}
	s := api.attends(west)
	for name, tt := range map[string]struct {
		token string
		id    identity.ID
		want  error
	}{
		"a forged token":    {podToken(false), identity.ID{}, enroll.ErrNotAttested},
		"no token":          {"x", identity.ID{}, enroll.ErrNotAttested},
		"another account":   {podToken(true), identity.WorkloadID("test.example", "shop", "api"), enroll.ErrInvalid},
		"another namespace": {podToken(true), identity.WorkloadID("test.example", "bank", "web"), enroll.ErrInvalid},
		"another domain":    {podToken(true), identity.WorkloadID("b.example", "shop", "web"), enroll.ErrInvalid},
		"a replica":         {podToken(true), identity.ReplicaID("test.example", "us-west", "a"), enroll.ErrInvalid},
	} {
		if answer, err := s.IssueSVID(t.Context(), attempt(t, tt.token, tt.id)); !errors.Is(err, tt.want) || answer != nil {
			t.Errorf("%s: expected %q, found %v", name, tt.want, err)
		}
	}
	if n := s.counted(t, svidRefused); n != 6 {
		t.Errorf("%v are counted as refused", n)
	}
	api.down = true
	if _, err := s.IssueSVID(t.Context(), attempt(t, podToken(true), identity.ID{})); !errors.Is(err, enroll.ErrUnavailable) || !strings.Contains(err.Error(), "us-west-1") {
		t.Errorf("an API server that is away: %v", err)
	}
	if n := s.counted(t, svidUnanswered); n != 1 {
		t.Errorf("%v are counted as unanswered", n)
	}
	none, err := west.openStrangers()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.IssueSVID(t.Context(), attempt(t, podToken(true), identity.ID{})); !errors.Is(err, enroll.ErrNoCluster) {
		t.Errorf("a replica without Kubernetes: %v", err)
	}
}

// Of two replicas one is a voter, and the other a standby without the region's CA.
func TestTheWordOfAStandbyCountsOnlyWhereItsClusterHasNoVoter(t *testing.T) {
	t.Run("in a cluster of its own", func(t *testing.T) {
		west := initialise(t, "us-west", "a", "")
		far := west.admitInto(t, "us-west-2", "b")
		answer, err := (&apiServer{}).attends(far).IssueSVID(t.Context(), attempt(t, podToken(true), identity.ID{}))
		if err != nil {
			t.Fatal(err)
		}
		if id, err := far.verifier.VerifyChain(answer.GetSvidChain(), time.Now()); err != nil || id != identity.WorkloadID("test.example", "shop", "web") {
			t.Errorf("found %s, %v", id, err)
		}
		for name, req := range map[string]*pb.SignWorkloadRequest{
			"no account":  {Csr: attempt(t, "", identity.ID{}).CSR, Namespace: "shop"},
			"a path":      {Csr: attempt(t, "", identity.ID{}).CSR, Namespace: "shop", ServiceAccount: "web/../../../federator/us-west/a"},
			"no request":  {Namespace: "shop", ServiceAccount: "web"},
			"a replica's": {Csr: attempt(t, "", identity.ReplicaID("test.example", "us-west", "a")).CSR, Namespace: "shop", ServiceAccount: "web"},
		} {
			if _, err := far.signer(t, west).SignWorkload(t.Context(), req); !errors.Is(enroll.FromStatus(err), enroll.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := west.proposer.Propose(deadline(t, patience), west.systemMeta(), &state.RemoveReplica{Name: "b"}); err != nil {
			t.Fatal(err)
		}
		_, err = far.signer(t, west).SignWorkload(t.Context(), &pb.SignWorkloadRequest{Csr: attempt(t, "", identity.ID{}).CSR, Namespace: "shop", ServiceAccount: "web"})
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("a replica that was removed: %v", err)
		}
	})
	t.Run("beside a voter", func(t *testing.T) {
		west := initialise(t, "us-west", "a", "")
		near := west.admitInto(t, "us-west-1", "b")
		api := &apiServer{}
		_, err := api.attends(near).IssueSVID(t.Context(), attempt(t, podToken(true), identity.ID{}))
		if !errors.Is(err, enroll.ErrUnavailable) || !strings.Contains(err.Error(), "in its cluster a does") || api.asked != 0 {
			t.Errorf("expected to be sent to the voter without a look at the token, found %v after %d reviews", err, api.asked)
		}
		_, err = near.signer(t, west).SignWorkload(t.Context(), &pb.SignWorkloadRequest{Csr: attempt(t, "", identity.ID{}).CSR, Namespace: "shop", ServiceAccount: "web"})
		if !errors.Is(enroll.FromStatus(err), enroll.ErrNotAttested) {
			t.Errorf("expected its word not to count, found %v", err)
		}
	})
}

// signer calls another replica of the region.
func (a *agent) signer(t *testing.T, to *agent) pb.SiblingsClient {
	t.Helper()
	c, err := a.peers.client(to.card.Replica)
	if err != nil {
		t.Fatal(err)
	}
	return pb.NewSiblingsClient(c)
}

func TestTheReplicasOfAnotherRegionHaveNoPodsSigned(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	eu := west.admit(t, "eu-central", "a", "")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := eu.signer(t, west).SignWorkload(ctx, &pb.SignWorkloadRequest{Csr: attempt(t, "", identity.ID{}).CSR, Namespace: "shop", ServiceAccount: "web"})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("found %v", err)
	}
}

func TestVotersAreNamedByTheirCluster(t *testing.T) {
	replicas := []*catalog.Replica{
		{Name: "c", DiskID: "3", Cluster: "one"}, {Name: "a", DiskID: "1", Cluster: "one"},
		{Name: "b", DiskID: "2", Cluster: "two"}, {Name: "d", DiskID: "4", Cluster: "three"},
	}
	server := func(i int, voter bool) state.Server { return state.Server{ID: replicas[i].RaftID(), Voter: voter} }
	servers := []state.Server{server(0, true), server(1, true), server(2, false), {ID: "d.another-disk", Voter: true}}
	for cluster, want := range map[string][]string{"one": {"a", "c"}, "two": nil, "three": nil, "four": nil} {
		if got := votersOf(servers, replicas, cluster); !slices.Equal(got, want) {
			t.Errorf("%s: expected %v, found %v", cluster, want, got)
		}
	}
}
