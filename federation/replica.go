package federation

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/federator/federator/dns"
	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/federation/operator"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/kube"
	"github.com/federator/federator/peering/port"
	"github.com/federator/federator/peering/replication"
	"github.com/federator/federator/peering/rpc"
)

// Replica is one running agent: the rooms of the house and what connects them.
// [Run] makes one, and it is for one run.
type Replica struct {
	cfg     Config
	card    Card
	dir     dataDir
	log     *slog.Logger
	metrics *prometheus.Registry
	started time.Time
	lock    *dirLock

	keys     ownKeys
	verifier *identity.Verifier
	vault    *vault
	renewer  *identity.Renewer

	catalog  *catalog.Catalog
	cache    *replication.Cache
	feed     *replication.Feed
	tee      *replication.Tee
	guard    *identity.Guard
	gate     *port.Gate
	port     *port.Port
	socket   net.Listener
	http     net.Listener
	peers    *peers
	node     *state.Node
	proposer *proposer
	importer *replication.Importer
	gossip   *gossip.Gossip
	observer *observer
	desk     *desk
	kube     *kubernetes // nil without one
	pod      *Pod        // nil where it runs in none
	rights   *kube.Rights
	dns      *dns.Server
	servers  *rpc.Servers
	founding *founding

	drillMetrics *drillMetrics
	sampler      *sampler // nil where no DNS is served

	callers callers

	mu       sync.Mutex
	loaded   bool // the own region is in the catalog
	halted   error
	unknown  bool // the region says that this replica is no member
	refused  []state.RefusedObject
	warnings []string
	applied  map[string]progress // of the siblings, by name
	reached  map[string]string   // where the Raft of each replica was last found
	// candidates are the recipients of replicas that are about to become voters.
	candidates map[string]time.Time
	changed    chan struct{} // tells the importer that the directory changed
	founded    chan struct{} // closed when the founding commands are written, if any
	leaving    chan struct{} // closed when the replica has left
	leftOnce   sync.Once
	spread     spreadKeyring // of the duty keepKeyring alone
}

// Pod is what the pod of a StatefulSet has to do with the replica in it.
type Pod struct {
	// Namespace and StatefulSet are those of the pod.
	Namespace, StatefulSet string
	// Rights is what is known already of the rights of this process in its Kubernetes
	// cluster; nil: nothing. Who has made it runs it.
	Rights *kube.Rights
}

// Run runs the replica that cfg.DataDir describes until ctx ends, and then stops
// it in order. An error means that it could not start, or had to stop. pod is that in
// which this process runs; nil if it runs in none.
func Run(ctx context.Context, cfg Config, log *slog.Logger, pod *Pod) error {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	r := &Replica{cfg: cfg, pod: pod, dir: dataDir(cfg.DataDir), started: time.Now(), changed: make(chan struct{}, 1), leaving: make(chan struct{}), founded: make(chan struct{}), reached: map[string]string{}}
	if pod != nil {
		r.rights = pod.Rights
	}
	err := r.open(ctx, log)
	if err == nil {
		err = r.run(ctx)
	}
	return errors.Join(err, r.close())
}

// open builds the replica, from the disk outwards.
func (r *Replica) open(ctx context.Context, log *slog.Logger) error {
	for _, step := range []func() error{
		r.openDirectory, func() error { return r.openIdentity(log) }, r.openCatalog, func() error { return r.openPort(ctx) },
		r.openRaft, r.openImports, func() error { return r.openGossip(ctx) }, r.openHealth, r.openServers, func() error { return r.openOutside(ctx) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// openDirectory locks the data directory and reads who this replica is.
func (r *Replica) openDirectory() (err error) {
	if r.card, err = r.dir.readCard(); err != nil {
		return err
	}
	// The card has the build that made it, which may have been replaced since.
	r.card.Replica.Build = cmp.Or(operator.Build(), r.card.Replica.Build)
	if r.lock, err = r.dir.lock(); err != nil {
		return err
	}
	if err := r.dir.restored(); err != nil {
		return err
	}
	if err := r.moveTo(r.cfg.Advertise); err != nil {
		return err
	}
	if err := os.MkdirAll(r.dir.raft(), 0o700); err != nil {
		return err
	}
	r.founding, err = r.dir.readFounding()
	return err
}

// openIdentity opens the keys, the trust list and what is sealed to this replica.
func (r *Replica) openIdentity(log *slog.Logger) (err error) {
	self := r.card.Replica
	r.log = log.With("region", self.Region, "replica", self.Name)
	r.metrics = prometheus.NewRegistry()
	r.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if r.keys, err = r.dir.keys(); err != nil {
		return err
	}
	if err := r.checkBelongings(); err != nil {
		return err
	}
	if err := r.dir.removeFoundingKey(); err != nil {
		return err
	}
	if r.verifier, err = identity.LoadVerifier(r.card.TrustDomain, r.dir.trust()); err != nil {
		return err
	}
	ring, err := r.dir.openRing(r.keys.seal)
	if err != nil {
		return err
	}
	r.vault = newVault(r.keys.seal, r.dir.sealedCA(), ring)
	if err := r.vault.openFile(); err != nil {
		r.log.Warn("the region's certificate authority on disk cannot be unsealed", "error", err)
	}
	r.guard = identity.NewGuard(r.verifier)
	r.gate = &port.Gate{}
	r.peers = newPeers(r.card.TrustDomain, &port.Dialer{Guard: r.guard, Gate: r.gate, TLS: r.tls()}, r.innerAddress)
	return r.openRenewal()
}

// checkBelongings refuses a data directory that was put together from several: its
// key, its certificate and its disk must be those of the card.
func (r *Replica) checkBelongings() error {
	self := r.card.Replica
	mixed := func(what, found string) error {
		return fmt.Errorf("data directory %s: %s is %s, and replica.json is of replica %s of region %s of %s; parts of another replica were copied here: restore the directory as a whole, or empty it and join again",
			r.dir, what, found, self.Name, self.Region, r.card.TrustDomain)
	}
	spki, err := r.keys.source.SPKI()
	if err != nil {
		return err
	}
	want := identity.ReplicaID(r.card.TrustDomain, self.Region, self.Name)
	if id, err := r.keys.source.ID(); err == nil && id != want {
		return mixed("the certificate in identity/", "of "+id.String())
	}
	if !bytes.Equal(spki, self.PublicKey) {
		return mixed("the key in identity/", "another replica's")
	}
	disk, err := r.dir.diskID()
	if err != nil {
		return err
	}
	if disk != self.DiskID {
		return mixed("disk-id", disk)
	}
	return nil
}

// openCatalog fills the view with what was known when the replica last ran.
func (r *Replica) openCatalog() (err error) {
	r.catalog = catalog.New(r.card.Replica.Region, r.card.Authority)
	if r.cache, err = replication.OpenCache(r.dir.imports(), replication.CacheConfig{Logger: r.log}); err != nil {
		return err
	}
	r.feed = replication.NewFeed(r.catalog)
	if r.drillMetrics, err = newDrillMetrics(r.metrics); err != nil {
		return err
	}
	if err := r.metrics.Register(refusedExports(r.catalog)); err != nil {
		return err
	}
	r.tee = &replication.Tee{View: r.catalog, Feed: r.feed, Cache: r.cache, Now: time.Now}
	regions, err := r.tee.Restore()
	if err != nil {
		return err
	}
	if regions > 0 {
		r.log.Info("loaded what was known of the federation", "regions", regions)
	}
	r.cutOff("") // a drill may go on
	return nil
}

// refusedExports counts what the export rules refuse now.
func refusedExports(c *catalog.Catalog) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "federator_catalog_refused_exports", Help: "Exports of all clusters that export rules refuse, as this replica enforces them.",
	}, func() float64 { return float64(len(c.Refusals())) })
}

// snapshotEvery is how often the length of the log is looked at.
const snapshotEvery = 10 * time.Second

// openRaft starts the region's Raft, which other replicas reach by their records.
func (r *Replica) openRaft() (err error) {
	self := r.card.Replica
	node, err := state.Open(state.Options{
		Dir: r.dir.raft(), RaftID: self.RaftID(),
		Stream: raftStream{Listener: &members{Listener: r.port.Listener(port.Raft), node: r.raftNode, done: make(chan struct{})}, peers: r.peers,
			region: self.Region},
		AddressOf: r.addressOf, Logger: r.log, Registerer: r.metrics,
		SnapshotThreshold: r.cfg.Raft.SnapshotThreshold, SnapshotInterval: snapshotEvery, TrailingLogs: r.cfg.Raft.SnapshotThreshold,
		Bootstrap: r.founding != nil && !r.founding.Restored,
		OnHalt: func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.halted = err
		},
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.node = node
	r.mu.Unlock()
	r.proposer = &proposer{node: r.node, peers: r.peers, siblings: r.siblings}
	return r.checkRegion()
}

// raftNode returns the node, nil until it is open.
func (r *Replica) raftNode() *state.Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.node
}

// noteAddresses remembers where the region's replicas are reached, also of those
// whose records are gone: a replica that leaves votes until Raft has agreed that it
// does not. One whose name or address another has taken since is not there any
// more.
func (r *Replica) noteAddresses() {
	replicas := append(r.siblings(), r.card.Replica)
	taken := map[string]bool{}
	for _, replica := range replicas {
		taken[replica.Name], taken[replica.PeerAddress] = true, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.reached, func(id, address string) bool { return taken[raftName(id)] || taken[address] })
	for _, replica := range replicas {
		r.reached[replica.RaftID()] = replica.PeerAddress
	}
}

// raftName is the name of the replica with that Raft id.
func raftName(id string) string {
	name, _, _ := strings.Cut(id, ".")
	return name
}

// checkRegion refuses a Raft log of another region than the card names.
func (r *Replica) checkRegion() error {
	var about state.About
	r.node.Read(func(s *state.State) { about = s.About() })
	if about.Epoch != 0 && (about.Region != r.card.Replica.Region || about.TrustDomain != r.card.TrustDomain) {
		return fmt.Errorf("data directory %s: the Raft log is of region %s of %s, the replica of region %s of %s; one of them was copied here: restore the directory as a whole, or empty it and join again",
			r.dir, about.Region, about.TrustDomain, r.card.Replica.Region, r.card.TrustDomain)
	}
	return nil
}

// addressOf finds where the Raft of a replica is reached.
func (r *Replica) addressOf(raftID string) (string, bool) {
	r.noteAddresses()
	r.mu.Lock()
	defer r.mu.Unlock()
	address, ok := r.reached[raftID]
	return raftAddress(raftName(raftID), address), ok
}

// close stops what open started, in reverse.
func (r *Replica) close() error {
	var errs []error
	if r.node != nil {
		errs = append(errs, r.node.Shutdown())
	}
	if r.peers != nil {
		r.peers.close()
	}
	for _, l := range []net.Listener{r.socket, r.http} {
		if l != nil {
			_ = l.Close() // a server that ran has closed it already
		}
	}
	if r.port != nil {
		_ = r.port.Close()
	}
	if r.cache != nil {
		errs = append(errs, r.cache.Close())
	}
	if r.lock != nil {
		_ = r.lock.Close()
	}
	return errors.Join(errs...)
}
