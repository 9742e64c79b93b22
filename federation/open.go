package federation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/federator/federator/dns"
	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	kubeexports "github.com/federator/federator/kube/exports"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/port"
	"github.com/federator/federator/peering/replication"
	"github.com/federator/federator/peering/rpc"
	"github.com/federator/federator/source/file"
	"github.com/federator/federator/source/probe"
)

// openPort starts to listen for other replicas.
func (r *Replica) openPort(ctx context.Context) (err error) {
	address, err := r.listenAddress(ctx, r.cfg.Listen.Peer, r.card.Replica.PeerAddress)
	if err != nil {
		return err
	}
	r.port, err = port.Listen(port.Options{Address: address, TLS: r.tls(), Protocols: r.protocols(), Guard: r.guard, Gate: r.gate, Log: r.log, Metrics: r.metrics})
	return err
}

func (r *Replica) openImports() (err error) {
	self := r.card.Replica
	r.importer, err = replication.NewImporter(replication.ImporterConfig{
		Region: self.Region, Sink: r.tee, Dial: r.peers.dial,
		PeerAddress: self.PeerAddress, GossipAddress: self.GossipAddress, Protocol: state.Protocol,
		Epoch:     func() uint64 { return r.catalog.Version(self.Region).Epoch },
		Directory: r.imports, Changed: r.changed, Removed: r.removed,
		Logger: r.log.WithGroup("link"), Registerer: r.metrics,
	})
	return err
}

func (r *Replica) openGossip(ctx context.Context) error {
	self := r.card.Replica
	address, err := r.listenAddress(ctx, r.cfg.Listen.Gossip, self.GossipAddress)
	if err != nil {
		return err
	}
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	advertise := r.advertised(ctx, conn.LocalAddr())
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return r.peers.dialer.Dial(ctx, port.Gossip, address, identity.AllowReplica(r.card.TrustDomain))
	}
	r.gossip, err = gossip.New(gossip.Config{
		Region: self.Region, Name: self.Name, TrustDomain: r.card.TrustDomain,
		Conn: conn, Advertise: advertise, PeerAddress: self.PeerAddress,
		Keyring: r.vault.ring, Dial: dial, Listener: r.port.Listener(port.Gossip),
		Peers: r.everybody, Allowed: r.allowed, Shut: func() bool { return r.catalog.Conditions().CutOff != "" },
		StreamEvidence: r.importer.Evidence, Synced: r.importer.Synced,
		ApplyHealth: func(d catalog.HealthDelta) []catalog.HealthChange { return r.catalog.ApplyHealth(d, time.Now()) },
		Pending:     r.catalog.PendingHealth,
		Digest:      r.catalog.HealthDigests,
		Logger:      r.log, Registerer: r.metrics,
	})
	if err != nil {
		_ = conn.Close()
	}
	return err
}

func (r *Replica) openHealth() error {
	checker := probe.NewChecker()
	r.observer = newObserver(r.catalog, pulseOf{r}, r.unlessCutOff(checker.Once), r.log)
	c := deskConfig{
		self: r.card.Replica, catalog: r.catalog, ledger: raftLedger{r}, herald: r.gossip,
		alive:       r.gossip.Alive,
		haveLeader:  func() bool { _, ok := r.node.Leader(); return ok },
		understands: r.understands,
		log:         r.log,
	}
	if r.cfg.Services != "" {
		c.feeds = append(c.feeds, &feed{origin: file.SourceName, source: file.New(r.cfg.Services, r.card.Replica.Cluster, r.log)})
	}
	if err := r.openKubernetes(); err != nil {
		return err
	}
	if r.kube != nil {
		c.feeds = append(c.feeds, &feed{origin: kubeexports.Origin, source: r.kube.exports})
	}
	r.desk = newDesk(c, checker.Once, r.metrics)
	return nil
}

// pulseOf is gossip as the observer sees it.
type pulseOf struct{ r *Replica }

func (p pulseOf) Reach() (map[string]bool, bool) { return p.r.gossip.Reach() }

func (p pulseOf) RTTs() map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, region := range p.r.otherRegions() {
		if rtt := p.r.gossip.RTT(region); rtt > 0 {
			out[region] = rtt
		}
	}
	return out
}

func (r *Replica) openServers() (err error) {
	access := &rpc.Access{TrustDomain: r.card.TrustDomain, Region: r.card.Replica.Region, Role: r.role, Log: r.log}
	if r.servers, err = rpc.NewServers(access, r.metrics); err != nil {
		return err
	}
	server, err := replication.NewServer(replication.ServerConfig{
		Region: r.card.Replica.Region, Replica: r.card.Replica.Name,
		Exports: exports{Feed: r.feed, region: r.card.Replica.Region, publishes: r.publishes},
		Caller:  callerOf, Removed: r.removed, Heard: r.heard, Evidence: r.importer.Evidence, Unheard: r.observer.silent,
		Logger: r.log, Registerer: r.metrics,
	})
	if err != nil {
		return err
	}
	strangers, err := r.openStrangers()
	if err != nil {
		return err
	}
	pb.RegisterReplicationServer(r.servers.Main, server)
	pb.RegisterSiblingsServer(r.servers.Main, &siblingsServer{r: r})
	pb.RegisterFederationServer(r.servers.Main, &federationServer{r: r})
	pb.RegisterOperatorServer(r.servers.Main, r.operatorServer(strangers.attesting()))
	pb.RegisterEnrollmentServer(r.servers.Enroll, enroll.NewServer(strangers, time.Now, r.log.WithGroup("join")))
	return nil
}

func callerOf(ctx context.Context) (replication.Caller, error) {
	id, ok := rpc.PeerID(ctx)
	if !ok || id.Kind != identity.Replica {
		return replication.Caller{}, errors.New("the caller is not a replica")
	}
	return replication.Caller{Region: id.Region, Replica: id.Name}, nil
}

func (r *Replica) publishes() (ok bool) {
	r.node.Read(func(s *state.State) { ok = s.Publishes() })
	return ok
}

// openOutside opens what people and clients use: the socket, HTTP, DNS.
func (r *Replica) openOutside(ctx context.Context) (err error) {
	if r.socket, err = port.ListenLocal(r.cfg.Listen.Socket); err != nil {
		return err
	}
	if r.cfg.Listen.HTTP != "off" {
		if r.http, err = net.Listen("tcp", r.cfg.Listen.HTTP); err != nil {
			return fmt.Errorf("http: %w; choose another with --http, or --http off", err)
		}
	}
	listen := r.cfg.Listen.DNS
	if len(listen) == 0 && r.card.Replica.DNSAddress != "" {
		address, err := r.dnsAddress(ctx)
		if err != nil {
			return err
		}
		listen = []string{address}
	}
	if len(listen) == 0 {
		return nil
	}
	config := dns.Config{
		Zone: r.cfg.Zone, Own: catalog.Locality{Region: r.card.Replica.Region, Zone: r.card.Replica.Zone},
		Listen: listen, TTL: time.Duration(*r.cfg.DNS.TTL), TrustedECS: r.cfg.DNS.TrustedECS, Resolvers: r.cfg.DNS.Resolvers,
		Logger: r.log, Registerer: r.metrics,
	}
	if r.kube != nil {
		config.Cluster, config.VIPs = r.card.Replica.Cluster, r.kube.vips
	}
	r.dns, err = dns.New(config, r.catalog)
	if err == nil {
		r.sampler = newSampler(r.dns, r.catalog)
	}
	return err
}
