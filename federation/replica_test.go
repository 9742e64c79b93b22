package federation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/operator"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/token"
)

// agent is a replica that runs within the test.
type agent struct {
	*Replica
	stop    func() error
	logFile string // what it said, from Info on
}

// logged returns what the agent has said so far.
func (a *agent) logged(t *testing.T) string {
	t.Helper()
	said, err := os.ReadFile(a.logFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

func place(t *testing.T, region, name string) Place {
	t.Helper()
	return Place{
		DataDir: t.TempDir(), Region: region, Cluster: region + "-1", Zone: "a", Name: name,
		PeerAddress: freeAddress(t), GossipAddress: freeAddress(t), Build: "test",
	}
}

// Ports for replicas: none that systems hand out for outgoing connections, because one
// of those could take it before it is used, or while a replica is down.
const firstPort, ports = 10_000, 7_000

// lastPort goes round them, from anywhere: no test gets what another one that runs
// beside it has and does not use at the moment.
var lastPort = func() *atomic.Uint32 {
	var n atomic.Uint32
	n.Store(mathrand.Uint32N(ports))
	return &n
}()

// freeAddress returns an address of this machine that is free for TCP and UDP.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+lastPort.Add(1)%ports)
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", address)
		_ = tcp.Close()
		if err != nil {
			continue
		}
		_ = udp.Close()
		return address
	}
	t.Fatal("expected a free port from 10000 to 16999, found none in 1000 tries")
	return ""
}

// start runs the replica of a data directory until the test ends or stops it.
func start(t *testing.T, p Place, services string) *agent {
	t.Helper()
	return startWith(t, p, Config{Services: services})
}

func startWith(t *testing.T, p Place, cfg Config) *agent {
	t.Helper()
	level := slog.LevelError
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	logFile, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = logFile.Close() }) // after the replica's end, which is a later cleanup
	log := slog.New(slog.NewMultiHandler(
		slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}), slog.NewTextHandler(logFile, nil)))
	socket := filepath.Join(t.TempDir(), "s")
	cfg.DataDir, cfg.Listen.HTTP, cfg.Listen.Socket = p.DataDir, "off", socket
	cfg = cfg.WithDefaults()
	r := &Replica{cfg: cfg, dir: dataDir(cfg.DataDir), started: time.Now(), changed: make(chan struct{}, 1), leaving: make(chan struct{}), founded: make(chan struct{}), reached: map[string]string{}}
	if err := r.open(t.Context(), log); err != nil {
		_ = r.close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := r.run(ctx)
		if ctx.Err() == nil {
			t.Logf("replica %s of %s ended by itself: %v", r.card.Replica.Name, r.card.Replica.Region, err)
		}
		done <- err
	}()
	stopped := false
	a := &agent{Replica: r, logFile: logFile.Name(), stop: func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		err := <-done
		return errors.Join(err, r.close())
	}}
	t.Cleanup(func() { _ = a.stop() })
	return a
}

// invite makes a join token of the agent's region.
func (a *agent) invite(t *testing.T) token.Token {
	t.Helper()
	tok := token.Token{
		TrustDomain: a.card.TrustDomain, Region: a.card.Replica.Region,
		Addresses: []string{a.card.Replica.PeerAddress}, Expires: time.Now().Add(time.Hour),
	}
	for _, root := range a.verifier.Roots() {
		tok.Pins = append(tok.Pins, identity.CertKeyID(root))
	}
	tok, err := token.New(rand.Reader, tok)
	if err != nil {
		t.Fatal(err)
	}
	hash := tok.Secret.Hash()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err = a.proposer.Propose(ctx, a.systemMeta(), &state.CreateToken{
		ID: tok.ID, Hash: hash[:], Purpose: operator.JoinPurpose{}.String(), Expires: tok.Expires,
	})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// admit joins a new replica with a token of the agent and starts it.
func (a *agent) admit(t *testing.T, region, name, services string) *agent {
	t.Helper()
	p := place(t, region, name)
	a.join(t, p)
	return start(t, p, services)
}

// join fills the data directory of a new replica with a token of the agent. Join
// gives up after a few seconds in which the region cannot decide, for example while
// it elects; calling it again is safe.
func (a *agent) join(t *testing.T, p Place) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tok := a.invite(t)
	for {
		_, err := Join(ctx, JoinOptions{Place: p, Token: tok, Progress: func(s string) { t.Log(p.Region, p.Name, s) }})
		switch {
		case err == nil:
			return
		case ctx.Err() != nil || !errors.Is(err, enroll.ErrUnavailable):
			t.Fatalf("join of %s/%s: %v", p.Region, p.Name, err)
		}
		t.Logf("join of %s/%s, once more: %v", p.Region, p.Name, err)
	}
}

func initialise(t *testing.T, region, name, services string) *agent {
	t.Helper()
	p := place(t, region, name)
	if _, err := Init(InitOptions{Place: p, TrustDomain: "test.example"}); err != nil {
		t.Fatal(err)
	}
	a := start(t, p, services)
	eventually(t, patience, "the first replica leads and has founded its region", func() bool {
		return a.catalog.Version(region) != (catalog.Version{}) && a.vault.keys().Version > 0
	})
	return a
}

func writeServices(t *testing.T, address string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "services.yaml")
	doc := fmt.Sprintf("services:\n  - name: shop/checkout\n    ports: [{name: http, port: 80, protocol: TCP}]\n    endpoints: [{address: %s, zone: a}]\n", address)
	if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReplicasOfTwoRegionsJoinAgreeAndKnowOfEachOthersServices(t *testing.T) {
	t.Parallel()
	checkout := catalog.ServiceName{Namespace: "shop", Name: "checkout"}
	west := initialise(t, "us-west", "a", writeServices(t, "127.0.0.11"))
	westB := west.admit(t, "us-west", "b", writeServices(t, "127.0.0.11"))
	westC := west.admit(t, "us-west", "c", writeServices(t, "127.0.0.11"))
	eventually(t, longest, "three voters", func() bool { return voters(west) == 3 })
	eu := westB.admit(t, "eu-central", "a", writeServices(t, "127.0.0.21"))
	for _, a := range []*agent{west, westB, westC, eu} {
		eventually(t, patience, a.card.Replica.Region+"/"+a.card.Replica.Name+" knows both regions' endpoints", func() bool {
			s := a.catalog.Service(checkout)
			return s != nil && len(s.Backends) == 2
		})
	}
	eventually(t, patience, "nobody is silent", func() bool {
		silent, _ := eu.gossip.Reach()
		is, known := silent["us-west"]
		return known && !is
	})
}

// backup writes a backup file of the agent's region.
func (a *agent) backup(t *testing.T, recipients ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head, err := a.backupHead(recipients)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(head); err != nil {
		t.Fatal(err)
	}
	if _, err := a.node.Backup(context.Background(), f); err != nil {
		t.Fatal(err)
	}
	return path
}

func backends(a *agent, name string) (regions []string) {
	n, _ := catalog.ParseServiceName(name)
	if s := a.catalog.Service(n); s != nil {
		for _, b := range s.Backends {
			regions = append(regions, b.Region)
		}
	}
	return regions
}

func TestARegionIsRestoredOnANewMachineUnderAHigherEpoch(t *testing.T) {
	t.Parallel()
	west := initialise(t, "us-west", "a", writeServices(t, "127.0.0.11"))
	eu := west.admit(t, "eu-central", "a", writeServices(t, "127.0.0.21"))
	eventually(t, patience, "us-west knows eu-central's endpoints", func() bool { return len(backends(west, "shop/checkout")) == 2 })
	key, err := identity.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	path := eu.backup(t, key.Recipient())
	_ = eu.stop()

	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := place(t, "eu-central", "z")
	if _, err := Restore(RestoreOptions{Place: p, Archive: f, Key: key.Secret()}); err != nil {
		t.Fatal(err)
	}
	restored := start(t, p, writeServices(t, "127.0.0.22"))
	eventually(t, patience, "us-west takes the restored region's new epoch", func() bool {
		return west.catalog.Version("eu-central").Epoch == 2 && len(backends(west, "shop/checkout")) == 2
	})
	checkout := catalog.ServiceName{Namespace: "shop", Name: "checkout"}
	eventually(t, patience, "the endpoints of the new machine's services file", func() bool {
		s := west.catalog.Service(checkout)
		return s != nil && len(s.Backends) == 2 && s.Backends[0].Set.Endpoints[0].Address.String() == "127.0.0.22"
	})
	if got := restored.replicasOf("eu-central"); len(got) != 1 || got[0].Name != "z" {
		t.Fatalf("the restored region has one replica, z; found %v", got)
	}
	restored.admit(t, "eu-central", "y", "")
}

func TestARecoveredReplicaCarriesItsRegionOnAlone(t *testing.T) {
	t.Parallel()
	west := initialise(t, "us-west", "a", writeServices(t, "127.0.0.11"))
	p := place(t, "eu-central", "a")
	west.join(t, p)
	eu := start(t, p, writeServices(t, "127.0.0.21"))
	eventually(t, patience, "us-west knows eu-central's endpoints", func() bool { return len(backends(west, "shop/checkout")) == 2 })
	_ = eu.stop()
	if _, err := RecoverRegion(p.DataDir); err != nil {
		t.Fatal(err)
	}
	start(t, p, writeServices(t, "127.0.0.21"))
	eventually(t, patience, "us-west takes the recovered region's new epoch", func() bool {
		return west.catalog.Version("eu-central").Epoch == 2 && len(backends(west, "shop/checkout")) == 2
	})
}

func TestARemovedRegionIsForgottenAndLearnsIt(t *testing.T) {
	t.Parallel()
	west := initialise(t, "us-west", "a", writeServices(t, "127.0.0.11"))
	eu := west.admit(t, "eu-central", "a", writeServices(t, "127.0.0.21"))
	eventually(t, patience, "both know both", func() bool {
		return len(backends(west, "shop/checkout")) == 2 && len(backends(eu, "shop/checkout")) == 2
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := west.removeRegion(ctx, "eu-central", "tester", "test", false); err == nil {
		t.Fatal("a region whose replicas answer must not be removed without force")
	}
	if _, err := west.removeRegion(ctx, "eu-central", "tester", "test", true); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "us-west forgets eu-central", func() bool { return len(backends(west, "shop/checkout")) == 1 })
	eventually(t, patience, "eu-central learns that it was removed and serves its own clients only", func() bool {
		got := backends(eu, "shop/checkout")
		return eu.isRevoked() && len(got) == 1 && got[0] == "eu-central"
	})
}

func TestTheGossipKeyIsRotatedEverywhere(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for every region to hold each stage")
	}
	west := initialise(t, "us-west", "a", "")
	eu := west.admit(t, "eu-central", "a", "")
	eventually(t, patience, "they know each other", func() bool { return west.importsKnown() && eu.importsKnown() })
	old := west.vault.ring.List()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := west.rotateKeyring(ctx, nil); err != nil {
		t.Fatal(err)
	}
	for _, a := range []*agent{west, eu} {
		eventually(t, patience, a.card.Replica.Region+" holds only the new key", func() bool {
			now := a.vault.ring.List()
			return len(now) == 1 && now[0] != old[0]
		})
	}
	eventually(t, patience, "the regions have not lost sight of each other", func() bool {
		silent, _ := eu.gossip.Reach()
		return !silent["us-west"]
	})
}

func TestARecoveryStandsInTheAuditTrail(t *testing.T) {
	p := place(t, "us-west", "a")
	if _, err := Init(InitOptions{Place: p, TrustDomain: "test.example"}); err != nil {
		t.Fatal(err)
	}
	a := start(t, p, "")
	eventually(t, patience, "the region is founded", func() bool { return a.vault.keys().Version > 0 })
	_ = a.stop()
	if _, err := RecoverRegion(p.DataDir); err != nil {
		t.Fatal(err)
	}
	a = start(t, p, "")
	eventually(t, patience, "the trail says who recovered it", func() bool {
		found := false
		a.node.Read(func(s *state.State) {
			for _, e := range s.Audit(0) {
				found = found || e.Action == "recover" && e.Actor == fmt.Sprintf("uid:%d@a", os.Getuid())
			}
		})
		return found
	})
}
