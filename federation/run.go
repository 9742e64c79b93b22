package federation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/federator/federator/dns"
	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/port"
	"github.com/federator/federator/peering/replication"
	"github.com/federator/federator/peering/rpc"
	"github.com/federator/federator/source/file"
	"github.com/federator/federator/source/probe"
)

// fileOrigin is what the sets of the static services file are marked with.
const fileOrigin = "file"

// openPort starts to listen for other replicas.
func (r *Replica) openPort() (err error) {
	address, err := listenAddress(r.cfg.Listen.Peer, r.card.Replica.PeerAddress)
	if err != nil {
		return err
	}
	r.port, err = port.Listen(port.Options{Address: address, TLS: r.tls(), Protocols: r.protocols(), Guard: r.guard, Log: r.log, Metrics: r.metrics})
	return err
}

// listenAddress is where to listen: as configured, else on the advertised
// address if this machine has it, else on the advertised port of every address.
func listenAddress(configured, advertised string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	host, number, err := net.SplitHostPort(advertised)
	if err != nil {
		return "", err
	}
	if l, err := net.Listen("tcp", net.JoinHostPort(host, "0")); err == nil {
		_ = l.Close()
		return advertised, nil
	}
	return net.JoinHostPort("", number), nil
}

func (r *Replica) openImports() (err error) {
	self := r.card.Replica
	r.importer, err = replication.NewImporter(replication.ImporterConfig{
		Region: self.Region, Sink: r.tee, Dial: r.peers.dial,
		Epoch:     func() uint64 { return r.catalog.Version(self.Region).Epoch },
		Directory: r.imports, Changed: r.changed, Removed: r.removed,
		Logger: r.log.WithGroup("link"), Registerer: r.metrics,
	})
	return err
}

func (r *Replica) openGossip() error {
	self := r.card.Replica
	address, err := listenAddress(r.cfg.Listen.Gossip, self.GossipAddress)
	if err != nil {
		return err
	}
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	var advertise netip.AddrPort
	if udp, err := net.ResolveUDPAddr("udp", self.GossipAddress); err == nil {
		advertise = netip.AddrPortFrom(udp.AddrPort().Addr().Unmap(), udp.AddrPort().Port())
	}
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return r.peers.dialer.Dial(ctx, port.Gossip, address, identity.AllowReplica(r.card.TrustDomain))
	}
	r.gossip, err = gossip.New(gossip.Config{
		Region: self.Region, Name: self.Name, TrustDomain: r.card.TrustDomain,
		Conn: conn, Advertise: advertise, PeerAddress: self.PeerAddress,
		Keyring: r.vault.ring, Dial: dial, Listener: r.port.Listener(port.Gossip),
		Peers: r.everybody, Allowed: r.allowed,
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
	r.observer = newObserver(r.catalog, pulseOf{r}, checker.Once, r.log)
	c := deskConfig{
		self: r.card.Replica, catalog: r.catalog, ledger: raftLedger{r}, herald: r.gossip, origin: fileOrigin,
		alive:      r.gossip.Alive,
		haveLeader: func() bool { _, ok := r.node.Leader(); return ok },
		log:        r.log,
	}
	if r.cfg.Services != "" {
		c.source = file.New(r.cfg.Services, r.card.Replica.Cluster, r.log)
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
		Caller:  callerOf, Removed: r.removed, Evidence: r.importer.Evidence,
		Logger: r.log, Registerer: r.metrics,
	})
	if err != nil {
		return err
	}
	pb.RegisterReplicationServer(r.servers.Main, server)
	pb.RegisterSiblingsServer(r.servers.Main, &siblingsServer{r: r})
	pb.RegisterFederationServer(r.servers.Main, &federationServer{r: r})
	pb.RegisterOperatorServer(r.servers.Main, r.operatorServer())
	pb.RegisterEnrollmentServer(r.servers.Enroll, enroll.NewServer(admissions{r}, time.Now, r.log.WithGroup("join")))
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
func (r *Replica) openOutside() (err error) {
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
		address, err := dnsAddress(r.card.Replica.DNSAddress)
		if err != nil {
			return err
		}
		listen = []string{address}
	}
	if len(listen) == 0 {
		return nil
	}
	r.dns, err = dns.New(dns.Config{
		Zone: r.cfg.Zone, Own: catalog.Locality{Region: r.card.Replica.Region, Zone: r.card.Replica.Zone},
		Listen: listen, TTL: time.Duration(*r.cfg.DNS.TTL), TrustedECS: r.cfg.DNS.TrustedECS, Resolvers: r.cfg.DNS.Resolvers,
		Logger: r.log, Registerer: r.metrics,
	}, r.catalog)
	return err
}

// dnsAddress is where DNS listens by default: the advertised address, or its port
// on every address if this machine does not have that one.
func dnsAddress(advertised string) (string, error) {
	address, err := listenAddress("", advertised)
	if err != nil {
		return "", err
	}
	udp, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return "", fmt.Errorf("DNS address %s: %w; give an IP address with --dns", advertised, err)
	}
	if udp.IP == nil {
		return address, nil
	}
	return udp.AddrPort().String(), nil
}

// run keeps everything going until ctx ends or something that cannot be missed
// fails.
func (r *Replica) run(ctx context.Context) error {
	r.log.Info("replica starts", "cluster", r.card.Replica.Cluster, "peer", r.port.Addr(), "build", r.card.Replica.Build)
	g, ctx := errgroup.WithContext(ctx)
	leaving := r.leaving
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-leaving:
			return errors.Join(ErrLeft, r.dir.markLeft())
		}
	})
	for _, loop := range []func(context.Context) error{
		r.port.Run, r.serve, r.followState, r.followTrust, r.followRemoval, r.followSecrets, r.found,
		r.cache.Run, r.importer.Run, r.gossip.Run, r.observer.run, r.desk.run, r.renewer.Run,
		r.lead, r.announce, r.tick, r.describe, r.answer,
	} {
		g.Go(func() error { return loop(ctx) })
	}
	if r.http != nil {
		g.Go(func() error { return serveHTTP(ctx, r.http, r.metrics, r.waitingFor) })
	}
	<-ctx.Done()
	r.stepDown()
	err := g.Wait()
	r.log.Info("replica stops", "error", err)
	return err
}

// stepDown hands the lead to another voter, so that a planned stop costs no
// election.
func (r *Replica) stepDown() {
	if r.node.IsLeader() && len(r.node.Servers()) > 1 {
		if err := r.node.TransferLeadership(); err != nil {
			r.log.Debug("could not hand over the lead", "error", err)
		}
	}
}

// serve answers gRPC on the port and on the socket.
func (r *Replica) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return rpc.Serve(ctx, r.servers.Main, time.Second, r.port.Listener(port.GRPC), r.socket)
	})
	g.Go(func() error { return rpc.Serve(ctx, r.servers.Enroll, time.Second, r.port.Listener(port.Enroll)) })
	return g.Wait()
}

// followState brings what the own region agreed on into the catalog, and tells
// the importer when the directory changes.
func (r *Replica) followState(ctx context.Context) error {
	changed, stop := r.node.Subscribe()
	defer stop()
	watch := r.catalog.Watch()
	defer watch.Close()
	var known []catalog.Replica
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := r.pull(); err != nil {
			r.log.Error("the region's state did not reach the catalog", "error", err)
		}
		r.forgetRemoved()
		if all := r.everybody(); !slices.EqualFunc(all, known, sameAddress) {
			known = all
			select {
			case r.changed <- struct{}{}:
			default:
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-watch.Changed():
			watch.Take()
		case <-tick.C:
		}
	}
}

// forgetRemoved drops what is held of regions that were removed.
func (r *Replica) forgetRemoved() {
	for _, region := range r.registry() {
		held := r.catalog.Version(region.Name)
		if region.Name != r.card.Replica.Region && held != (catalog.Version{}) && r.removed(region.Name, held.Epoch) {
			r.log.Info("forgetting a removed region", "peer", region.Name, "epoch", held.Epoch)
			r.tee.Forget(region.Name)
		}
	}
}

func sameAddress(a, b catalog.Replica) bool {
	return a.Region == b.Region && a.RaftID() == b.RaftID() && a.PeerAddress == b.PeerAddress && a.GossipAddress == b.GossipAddress
}

// pull takes over the changes of the own region since the version held.
func (r *Replica) pull() error {
	region := r.card.Replica.Region
	held := r.catalog.Version(region)
	if deltas, ok := r.node.DeltasSince(held); ok {
		for _, d := range deltas {
			if err := r.tee.Apply(d); err != nil {
				return err
			}
		}
	} else if own := r.node.Own(); own.Region != "" && own.Version.Compare(held) > 0 {
		if err := r.tee.Reset(own); err != nil {
			return err
		}
	}
	if r.catalog.Version(region) != (catalog.Version{}) {
		r.mu.Lock()
		r.loaded = true
		r.mu.Unlock()
	}
	return nil
}

// found writes the region's first commands, on its founder's first start.
func (r *Replica) found(ctx context.Context) error {
	if r.founding == nil {
		close(r.founded)
		return nil
	}
	commands := []state.Command{&r.founding.Found, r.founding.Secrets}
	if r.founding.Restored {
		r.expectPresent(r.founding.Secrets)
		commands = commands[1:]
	}
	if r.founding.Trust != nil {
		commands = append(commands, r.founding.Trust)
	}
	for _, cmd := range commands {
		_, err := r.proposer.Propose(ctx, r.systemMeta(), cmd)
		if err != nil && !errors.Is(err, state.ErrConflict) { // a conflict: done by an earlier start
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("found the region: %w", err)
		}
	}
	// Now, so that the first to join does not find the secrets still sealed.
	if err := r.vault.refresh(r.secrets()); err != nil {
		return fmt.Errorf("found the region: %w", err)
	}
	r.log.Info("the region is founded", "restored", r.founding.Restored)
	close(r.founded)
	return r.dir.removeFounding()
}

// expectPresent makes the writes replace the secrets that the state holds now.
func (r *Replica) expectPresent(p *state.PutSecrets) {
	r.node.Read(func(s *state.State) {
		for i := range p.Secrets {
			old, _ := s.Secret(p.Secrets[i].Name)
			p.Secrets[i].Expect = old.Generation
		}
	})
}

// systemMeta marks commands that no operator asked for.
func (r *Replica) systemMeta() state.Meta {
	return state.Meta{Actor: identity.ReplicaID(r.card.TrustDomain, r.card.Replica.Region, r.card.Replica.Name).String()}
}

// tick tells the catalog the time.
func (r *Replica) tick(ctx context.Context) error {
	t := time.NewTicker(250 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			r.catalog.Advance(now)
		}
	}
}

// describe keeps the region's record of this replica true.
func (r *Replica) describe(ctx context.Context) error {
	t := time.NewTicker(2 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		var record *catalog.Replica
		r.node.Read(func(s *state.State) { record = s.Replica(r.card.Replica.Name) })
		want := r.card.Replica
		want.MinProtocol, want.MaxProtocol = state.MinProtocol, state.Protocol
		if record == nil || record.DiskID != want.DiskID || sameRecord(*record, want) {
			continue
		}
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		if _, err := r.proposer.Propose(short, r.systemMeta(), &state.UpdateReplica{Replica: want}); err != nil {
			r.log.Debug("could not update the record of this replica", "error", err)
		}
		cancel()
	}
}

func sameRecord(a, b catalog.Replica) bool {
	return sameAddress(a, b) && a.Zone == b.Zone && a.DNSAddress == b.DNSAddress && a.Build == b.Build &&
		a.MinProtocol == b.MinProtocol && a.MaxProtocol == b.MaxProtocol
}

// firstImports is how long DNS waits for the other regions' catalogs on a
// replica that holds none yet.
const firstImports = 5 * time.Second

// answer opens DNS once the first catalog is there. It waits for the own region,
// and for a bounded time for the others: a replica must start while remotes are
// down.
func (r *Replica) answer(ctx context.Context) error {
	if r.dns == nil {
		return nil
	}
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if !r.isLoaded() {
			continue
		}
		if since.IsZero() {
			since = time.Now()
		}
		if r.importsKnown() && r.sourceKnown() || time.Since(since) > firstImports {
			break
		}
	}
	r.mu.Lock()
	r.serving = true
	r.mu.Unlock()
	return r.dns.Run(ctx)
}

func (r *Replica) isLoaded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loaded
}

func (r *Replica) importsKnown() bool {
	for _, region := range r.otherRegions() {
		if r.catalog.Version(region) == (catalog.Version{}) {
			return false
		}
	}
	return true
}

// sourceKnown reports whether the services of the own cluster are there, on a
// replica that is to have some.
func (r *Replica) sourceKnown() bool {
	return r.cfg.Services == "" || len(r.desk.own()) > 0 || r.desk.isEmpty()
}

// waitingFor says what keeps the replica from being ready; nothing of it is in
// another region.
func (r *Replica) waitingFor() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	if r.halted != nil {
		list = append(list, r.halted.Error())
	}
	if r.unknown {
		list = append(list, "this replica was removed from its region: empty its data directory and join with a new token")
	}
	if !r.loaded {
		list = append(list, "the region's own state: the replica was just admitted, or its region has no leader")
	}
	if r.dns != nil && !r.serving {
		list = append(list, "the first catalog, before DNS opens")
	}
	return list
}
