package enroll_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/internal/peertest"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/port"
	"github.com/federator/federator/peering/rpc"
	"github.com/federator/federator/peering/token"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// region is a small but real backend: one region that admits replicas to itself
// and lets new regions be founded.
type region struct {
	t      testing.TB
	domain *peertest.Domain

	mu       sync.Mutex
	tokens   map[string]enroll.TokenRecord
	replicas map[string]catalog.Replica // by region/name
	clusters map[string]string          // cluster -> region
	admits   int
	fail     error // of Check, once set
	lose     int   // answers to lose after admission
	answer   func(*pb.EnrollResponse)

	tokensSeen []string // of pods
	failSVID   error
	answerSVID func(*pb.IssueSVIDResponse)
}

func (r *region) Describe() enroll.Description {
	return enroll.Description{TrustDomain: peertest.TrustDomain, Region: "us-west", Cluster: "west-1", Epoch: 1, MinProtocol: 1, MaxProtocol: 1, Build: "test"}
}

func (r *region) Token(_ context.Context, id string) (enroll.TokenRecord, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.tokens[id]
	return rec, ok, nil
}

func (r *region) Check(_ context.Context, a enroll.Admission) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	old, taken := r.replicas[a.Replica.Region+"/"+a.Replica.Name]
	if taken && !bytes.Equal(old.PublicKey, a.Replica.PublicKey) {
		return fmt.Errorf("%w: %s has had it since noon", enroll.ErrNameTaken, old.Name)
	}
	if owner, ok := r.clusters[a.Replica.Cluster]; ok && owner != a.Replica.Region {
		return fmt.Errorf("%w: %s belongs to %s", enroll.ErrClusterOwned, a.Replica.Cluster, owner)
	}
	return nil
}

func (r *region) Redeem(_ context.Context, a enroll.Admission) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.tokens[a.TokenID]
	if key := a.Request.KeyID(); rec.UsedBy.IsZero() {
		rec.UsedBy = key
	} else if rec.UsedBy != key {
		return enroll.ErrReused
	}
	r.tokens[a.TokenID] = rec
	return nil
}

func (r *region) Admit(_ context.Context, a enroll.Admission) (*pb.EnrollResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admits++
	r.replicas[a.Replica.Region+"/"+a.Replica.Name] = a.Replica
	r.clusters[a.Replica.Cluster] = a.Replica.Region
	resp := &pb.EnrollResponse{TrustDomain: peertest.TrustDomain, Region: a.Replica.Region, Epoch: 1, AuthorityRegion: "us-west", Protocol: 1}
	if err := r.certify(resp, a); err != nil {
		return nil, err
	}
	for _, known := range r.replicas {
		resp.Directory = append(resp.Directory, enroll.ReplicaToWire(&known))
	}
	resp.TrustList = r.domain.List()
	if r.answer != nil {
		r.answer(resp)
	}
	if r.lose > 0 {
		r.lose--
		return nil, fmt.Errorf("%w: the leader died", enroll.ErrUnavailable)
	}
	return resp, nil
}

func (r *region) certify(resp *pb.EnrollResponse, a enroll.Admission) error {
	if a.Replica.Region == "us-west" {
		chain, err := r.domain.Region("us-west").SignReplica(identity.ReplicaRequest{Name: a.Replica.Name, PublicKey: a.Request.PublicKey}, time.Now())
		resp.SvidChain = chain
		return err
	}
	ca, err := identity.ParseRequest(a.IntermediateCSR)
	if err != nil {
		return err
	}
	cert, err := r.domain.Root.SignIntermediate(a.Replica.Region, 1, ca.PublicKey, time.Now())
	if err != nil {
		return err
	}
	r.domain.Enlist(a.Replica.Region, identity.CertKeyID(cert))
	resp.Founding, resp.Intermediate = true, cert.Raw
	return nil
}

func (r *region) Renew(_ context.Context, n enroll.Renewal) (*pb.RenewResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.replicas[n.Region+"/"+n.Name]
	if !ok || !bytes.Equal(known.PublicKey, n.Request.SPKI) {
		return nil, enroll.ErrUnknownReplica
	}
	chain, err := r.domain.Region(n.Region).SignReplica(identity.ReplicaRequest{Name: n.Name, PublicKey: n.Request.PublicKey}, time.Now())
	return &pb.RenewResponse{SvidChain: chain, TrustList: r.domain.List()}, err
}

// IssueSVID takes the word of a token "for NAMESPACE/ACCOUNT".
func (r *region) IssueSVID(_ context.Context, a enroll.SVIDAttempt) (*pb.IssueSVIDResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokensSeen = append(r.tokensSeen, a.Token)
	if r.failSVID != nil {
		return nil, r.failSVID
	}
	account, isPod := strings.CutPrefix(a.Token, "for ")
	namespace, name, _ := strings.Cut(account, "/")
	if !isPod {
		return nil, fmt.Errorf("%w: the API server does not know it", enroll.ErrNotAttested)
	}
	if err := a.Request.CheckWorkload(identity.WorkloadID(peertest.TrustDomain, namespace, name)); err != nil {
		return nil, fmt.Errorf("%w: %w", enroll.ErrInvalid, err)
	}
	chain, err := r.domain.Region("us-west").SignWorkload(identity.WorkloadRequest{Namespace: namespace, ServiceAccount: name, PublicKey: a.Request.PublicKey}, time.Now())
	resp := &pb.IssueSVIDResponse{SvidChain: chain, TrustList: r.domain.List()}
	if r.answerSVID != nil {
		r.answerSVID(resp)
	}
	return resp, err
}

// issue makes a token that the region knows.
func (r *region) issue(addresses ...string) token.Token {
	r.t.Helper()
	t, err := token.New(rand.Reader, token.Token{
		TrustDomain: peertest.TrustDomain, Region: "us-west", Pins: r.domain.Pins(), Addresses: addresses, Expires: time.Now().Add(time.Hour),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	h := t.Secret.Hash()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens[t.ID] = enroll.TokenRecord{SecretHash: h[:], Expires: t.Expires}
	return t
}

func (r *region) change(id string, f func(*enroll.TokenRecord)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.tokens[id]
	f(&rec)
	r.tokens[id] = rec
}

// world is a running region and its address.
type world struct {
	*region
	address string
	log     *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newWorld starts a region; its server has a clock of its own, if one is given.
func newWorld(t *testing.T, clock ...func() time.Time) *world {
	t.Helper()
	now := append(clock, time.Now)[0]
	d := peertest.New(t)
	w := &world{log: &syncBuffer{}, region: &region{
		t: t, domain: d, tokens: map[string]enroll.TokenRecord{},
		replicas: map[string]catalog.Replica{}, clusters: map[string]string{"west-1": "us-west"},
	}}
	p := d.Replica("us-west", "first", time.Now()).Port(func(o *port.Options) { o.EnrollBurst = 1000 })
	w.address = p.Addr().String()
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	servers, err := rpc.NewServers(&rpc.Access{TrustDomain: peertest.TrustDomain, Region: "us-west", Log: log}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pb.RegisterEnrollmentServer(servers.Enroll, enroll.NewServer(w.region, now, log))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(ctx, servers.Enroll, time.Second, p.Listener(port.Enroll)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func key(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func request(t testing.TB, region, cluster, name string) enroll.Request {
	t.Helper()
	seal, err := identity.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	return enroll.Request{
		Key: key(t), IntermediateKey: key(t),
		Replica: catalog.Replica{
			Name: name, Region: region, Cluster: cluster, Zone: "a", DiskID: "d1", Recipient: seal.Recipient(),
			PeerAddress: "10.0.0.9:7443", GossipAddress: "10.0.0.9:7946", MinProtocol: 1, MaxProtocol: 1, Build: "test",
		},
	}
}

func joiner() *enroll.Joiner {
	return &enroll.Joiner{Now: time.Now, Pause: time.Millisecond, Timeout: 5 * time.Second}
}

// client speaks to the server as a stranger does.
func (w *world) client(t *testing.T) pb.EnrollmentClient {
	t.Helper()
	pins := identity.Pins{TrustDomain: peertest.TrustDomain, Roots: w.domain.Pins()}
	cc, err := rpc.Client(func(ctx context.Context) (net.Conn, error) {
		return port.DialTLS(ctx, w.address, pins.ClientTLS(port.Enroll), 0)
	}, grpc.WithUserAgent("test"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return pb.NewEnrollmentClient(cc)
}
