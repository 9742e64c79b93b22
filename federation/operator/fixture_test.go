package operator

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/replication"
	"github.com/federator/federator/peering/rpc"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

const domain = "acme.example"

// world is the replica us-west/a: the only one of the authority region, with a
// Raft of its own, and with eu-central imported.
type world struct {
	t      *testing.T
	node   *state.Node
	server *Server
	ca     *identity.Intermediate
	gossip *fakeGossip
	left   int
	marked chan int // how often it had left when its disk was marked

	caughtUp      int   // how often it was asked to
	cannotCatchUp error // what it answers
	arriving      state.Command
}

// fakeGossip is gossip as a test sets it.
type fakeGossip struct {
	members []gossip.Member
	dead    map[string]bool
}

func (m *fakeGossip) Members() []gossip.Member { return m.members }
func (m *fakeGossip) Alive(name string) bool   { return !m.dead[name] }

// loopback carries Raft, which has nobody to talk to.
type loopback struct{ net.Listener }

func (l loopback) Dial(a raft.ServerAddress, d time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(a), d)
}

func replicaOf(region, name, cluster string) catalog.Replica {
	return catalog.Replica{
		Name: name, Region: region, Cluster: cluster, Zone: "a", DiskID: "disk" + name, PeerAddress: name + "." + region + ":7443",
		GossipAddress: "127.0.0.1:7946", DNSAddress: "127.0.0.1:53", Recipient: "age1" + name, PublicKey: []byte("key-" + name),
		MinProtocol: state.MinProtocol, MaxProtocol: state.Protocol, Build: "v1",
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, gossip: &fakeGossip{dead: map[string]bool{}}, marked: make(chan int, 4)}
	self := replicaOf("us-west", "a", "west-1")
	w.openNode(self)
	root, err := identity.NewRoot(domain, time.Now())
	w.must(err)
	w.ca = w.intermediate(root)
	trust := identity.NewVerifier(domain, root.Certificate)
	signed, err := root.SignList(identity.List{
		TrustDomain: domain, Sequence: 1, Roots: [][]byte{root.Certificate.Raw}, IssuedAt: time.Now(),
		Intermediates: []identity.ListedIntermediate{{Region: "us-west", Epoch: 1, KeyID: w.ca.KeyID()}},
	})
	w.must(err)
	_, err = trust.Update(signed)
	w.must(err)
	cat := catalog.New("us-west", "us-west")
	w.server = New(Config{
		Self: self, TrustDomain: domain, Authority: "us-west", Zone: "clusterset.local", DNS: true, Started: time.Now(),
		Catalog: cat, Raft: w.node, Proposer: w, Gossip: w.gossip, Trust: trust,
		Links:      func() []replication.LinkStatus { return []replication.LinkStatus{freshLink()} },
		ReachSince: func(string) time.Time { return time.Time{} }, WaitingFor: func() []string { return nil },
		CacheError: func() error { return nil },
		Renewal:    func() identity.RenewerState { return goodRenewal(time.Now()) },
		Chain:      func() [][]byte { return [][]byte{w.ca.Certificate.Raw, w.ca.Certificate.Raw, w.ca.Root.Raw} },
		Signer:     func() (*identity.Intermediate, bool) { return w.ca, true }, LockedOut: func(string) error { return nil },
		Keyring: func(context.Context) (uint64, [][]byte, []string) {
			return 2, [][]byte{{1}, {2}}, []string{"eu-central"}
		},
		RotateKeyring: func(context.Context, []string) error { return nil },
		BackupHead:    func([]string) ([]byte, error) { return []byte(backupHeadOfTest), nil },
		RemoveRegion:  w.removeRegion, MarkLeft: func() { w.marked <- w.left }, Left: func() { w.left++ },
	})
	w.do(&state.Found{TrustDomain: domain, Region: "us-west", Epoch: 1, Authority: true, Founder: "f", Replica: self, Intermediate: w.ca.Certificate.Raw})
	w.do(&state.RegisterRegion{Region: "eu-central", Founder: "e", Clusters: []string{"eu-1"}})
	w.importEurope()
	return w
}

func freshLink() replication.LinkStatus {
	v := catalog.Version{Epoch: 1, Seq: 1}
	return replication.LinkStatus{Region: "eu-central", Upstream: "e0", Direct: true, Version: v, Announced: v, LastEvent: time.Now(), Synced: true}
}

func goodRenewal(now time.Time) identity.RenewerState {
	return identity.RenewerState{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(23 * time.Hour), Life: 24 * time.Hour, RenewAt: now.Add(11 * time.Hour)}
}

func (w *world) openNode(self catalog.Replica) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	w.node, err = state.Open(state.Options{
		Dir: w.t.TempDir(), RaftID: self.RaftID(), Stream: loopback{l}, Bootstrap: true, Timing: state.Timing{Heartbeat: 50 * time.Millisecond},
		AddressOf: func(string) (string, bool) { return l.Addr().String(), true },
	})
	w.must(err)
	w.t.Cleanup(func() { w.must(w.node.Shutdown()) })
	changed, stop := w.node.LeaderCh()
	defer stop()
	deadline := time.After(10 * time.Second)
	for !w.node.IsLeader() {
		select {
		case <-changed:
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			w.t.Fatal("no leader")
		}
	}
}

func (w *world) intermediate(root *identity.Root) *identity.Intermediate {
	w.t.Helper()
	key, err := identity.NewKey()
	w.must(err)
	cert, err := root.SignIntermediate("us-west", 1, key.Public(), time.Now())
	w.must(err)
	der, err := identity.MarshalKey(key)
	w.must(err)
	ca, err := identity.OpenIntermediate(cert.Raw, root.Certificate.Raw, der)
	w.must(err)
	return ca
}

// importEurope is what the stream of eu-central brought.
func (w *world) importEurope() {
	r := replicaOf("eu-central", "e0", "eu-1")
	cluster := catalog.Cluster{Name: "eu-1", HealthOwner: "e0", Prefixes: []catalog.ClientPrefix{{Prefix: netip.MustParsePrefix("10.2.0.0/16"), Zone: "b"}}}
	checkout := set("eu-1", "file", "checkout", "10.2.0.1", "10.2.0.2")
	w.must(w.server.Catalog.Reset(catalog.Snapshot{
		Region: "eu-central", Version: catalog.Version{Epoch: 1, Seq: 1},
		Records: []catalog.Record{{Replica: &r}, {Cluster: &cluster}, {Set: &checkout}},
	}, time.Now()))
	w.gossip.members = []gossip.Member{{Region: "eu-central", Name: "e0", State: gossip.MemberAlive, Gossiping: true, RTT: 80 * time.Millisecond, LastEvidence: time.Now()}}
}

// set is an endpoint set of the service shop/NAME.
func set(cluster, source, name string, addresses ...string) catalog.EndpointSet {
	s := catalog.EndpointSet{
		SetKey: catalog.SetKey{Cluster: cluster, Service: catalog.ServiceName{Namespace: "shop", Name: name}}, Source: source,
		Ports: []catalog.Port{{Name: "http", Protocol: catalog.TCP, Number: 80}}, CreatedAt: time.Unix(1000, 0).UTC(),
	}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, catalog.Endpoint{ID: a, Address: netip.MustParseAddr(a), Zone: "a", Weight: 1, Health: catalog.Healthy})
	}
	return s
}

// Propose runs a command, and then brings what it changed into the catalog.
func (w *world) Propose(ctx context.Context, meta state.Meta, cmd state.Command) (state.Result, error) {
	result, err := w.node.Propose(ctx, meta, cmd)
	cat := w.server.Catalog
	deltas, ok := w.node.DeltasSince(cat.Version("us-west"))
	if !ok {
		w.must(cat.Reset(w.node.Own(), time.Now()))
	}
	for _, d := range deltas {
		w.must(cat.Apply(d, time.Now()))
	}
	return result, err
}

// CatchUp brings what the test has arrive only now.
func (w *world) CatchUp(ctx context.Context) error {
	w.caughtUp++
	if w.arriving != nil {
		w.do(w.arriving)
		w.arriving = nil
	}
	if w.cannotCatchUp != nil {
		return w.cannotCatchUp
	}
	_, err := w.node.Barrier(ctx)
	return err
}

func (w *world) removeRegion(ctx context.Context, region, actor, origin string, _ bool) (*catalog.Region, error) {
	if _, err := w.Propose(ctx, state.Meta{Actor: actor, From: origin}, &state.RemoveRegion{Region: region}); err != nil {
		return nil, err
	}
	var record *catalog.Region
	w.node.Read(func(s *state.State) { record = s.Region(region) })
	return record, nil
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) do(cmd state.Command) {
	w.t.Helper()
	_, err := w.Propose(context.Background(), state.Meta{Actor: "test"}, cmd)
	w.must(err)
}

// as is the context of a call over the local socket.
func (w *world) as() context.Context {
	return peer.NewContext(w.t.Context(), &peer.Peer{AuthInfo: rpc.Peer{Local: &rpc.Local{UID: 0, PID: 7}}})
}

// wants checks that a call was refused, with a code and a reason.
func wants(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	if status.Code(err) != code || rpc.Reason(err) != reason {
		t.Fatalf("expected %s and %s, found %s and %q: %v", code, reason, status.Code(err), rpc.Reason(err), err)
	}
}
