package federation

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
)

// Config is how one replica runs. What it is (trust domain, region, cluster,
// name, addresses for others) was decided by init or join and is kept in its
// data directory.
type Config struct {
	// DataDir is the replica's data directory, made by init or join.
	DataDir string `json:"dataDir"`
	// Zone is the DNS zone. Default "clusterset.local".
	Zone string `json:"zone,omitempty"`
	// Services is a static services file, watched; empty for none.
	Services string `json:"services,omitempty"`
	// Kubernetes is the cluster that the replica belongs to, if it is one of
	// Kubernetes. A services file beside it is allowed.
	Kubernetes Kubernetes `json:"kubernetes,omitzero"`
	// Advertise says where others reach this replica now, if that is no longer what
	// init or join was told: the addresses of a pod change with every start.
	Advertise Advertise `json:"advertise,omitempty"`
	Listen    Listen    `json:"listen,omitempty"`
	DNS       DNS       `json:"dns,omitempty"`
	Raft      Raft      `json:"raft,omitempty"`
	// LeafLifetime is how long a replica's certificate lives; it renews at half of
	// it. 1 minute to 720h, default 24h.
	LeafLifetime catalog.Duration `json:"leafLifetime,omitempty"`
	Log          Log              `json:"log,omitempty"`
}

// Kubernetes says how the replica works with the Kubernetes cluster it belongs to.
type Kubernetes struct {
	// Enabled: services come in from the cluster, and go out to it. Default false.
	Enabled bool `json:"enabled,omitempty"`
	// Kubeconfig is a kubeconfig file. Empty means the service account of the pod
	// that the replica runs in.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// Context is a context of that file; empty means its current one.
	Context string `json:"context,omitempty"`
	// Namespace holds the Lease by which the replicas of the cluster agree on who
	// writes into it; it is the same for all of them. Default: that of the pod, else
	// "federator-system".
	Namespace string `json:"namespace,omitempty"`
	// SVIDLifetime is how long the certificates of pods live that this replica signs,
	// also those of pods in other clusters of its region; pods renew at half of it.
	// 5 minutes to 24h, default 1h.
	SVIDLifetime catalog.Duration `json:"svidLifetime,omitempty"`
}

// Advertise is what a replica tells others of itself. What is left empty stays as
// it was.
type Advertise struct {
	// Peer, Gossip and DNS are host:port as others reach the mTLS port, the gossip
	// port and the DNS server.
	Peer   string `json:"peer,omitempty"`
	Gossip string `json:"gossip,omitempty"`
	DNS    string `json:"dns,omitempty"`
	// Zone is the zone that the replica is in.
	Zone string `json:"zone,omitempty"`
	// Siblings is where replicas of the same region and cluster are reached on TCP
	// besides at their addresses: host:port, with NAME in place of the replica's
	// name, such as NAME.federator-peers.federator-system.svc:7443. By it they find
	// each other when all their addresses have changed at once.
	Siblings string `json:"siblings,omitempty"`
}

// validate reports everything that is wrong with it.
func (a Advertise) validate() error {
	var errs []error
	for name, address := range map[string]string{"advertise.peer": a.Peer, "advertise.gossip": a.Gossip, "advertise.dns": a.DNS, "advertise.siblings": a.Siblings} {
		if address != "" {
			errs = append(errs, validateHostPort(name, address))
		}
	}
	if a.Zone != "" {
		errs = append(errs, catalog.ValidateLabel("advertise.zone", a.Zone))
	}
	if a.Siblings != "" && !strings.Contains(a.Siblings, siblingName) {
		errs = append(errs, fmt.Errorf("advertise.siblings %q: expected %s where the name of a replica goes, as in %s.federator-peers:7443", a.Siblings, siblingName, siblingName))
	}
	return errors.Join(errs...)
}

// siblingName stands for the name of a replica in [Advertise.Siblings].
const siblingName = "NAME"

// Listen holds the addresses a replica listens on, each host:port.
type Listen struct {
	// Peer is the mTLS port. Default: the port of the advertised peer address, on
	// the advertised host if that is an address of this machine.
	Peer string `json:"peer,omitempty"`
	// Gossip is the UDP port of gossip and echoes. Default as for Peer.
	Gossip string `json:"gossip,omitempty"`
	// DNS are the UDP and TCP addresses of the DNS server. Default: the advertised
	// DNS address; none means no DNS.
	DNS []string `json:"dns,omitempty"`
	// HTTP serves /metrics, /healthz and /readyz. Default "127.0.0.1:7480"; "off"
	// turns it off. It is plain HTTP: anything but loopback needs a reason.
	HTTP string `json:"http,omitempty"`
	// Socket is the operator's unix socket. Default DATADIR/federator.sock.
	Socket string `json:"socket,omitempty"`
}

// DNS configures the answers.
type DNS struct {
	// TTL of answers, 1s to 24h, whole seconds. Default 5s.
	TTL *catalog.Duration `json:"ttl,omitempty"`
	// TrustedECS lists the senders whose EDNS client subnet is believed.
	TrustedECS []netip.Prefix `json:"trustedECS,omitempty"`
	// Resolvers lists shared resolvers: their clients get answers apportioned by
	// weight, even where a prefix would place the resolver itself.
	Resolvers []netip.Prefix `json:"resolvers,omitempty"`
}

// Raft tunes the region's log.
type Raft struct {
	// SnapshotThreshold is after how many entries a snapshot is taken; 16 to
	// 1000000, default 8192.
	SnapshotThreshold uint64 `json:"snapshotThreshold,omitempty"`
	// DeadServerAfter is how long a standby may be dead before it is taken out of
	// Raft until it is back; a living standby takes a dead voter's place at once.
	// 1s to 24h, default 10m.
	DeadServerAfter catalog.Duration `json:"deadServerAfter,omitempty"`
}

// Log configures what the agent writes to standard error.
type Log struct {
	// Level is debug, info, warn or error. Default info.
	Level string `json:"level,omitempty"`
	// Format is text or json. Default text.
	Format string `json:"format,omitempty"`
}

// maxConfig bounds the configuration file, in bytes.
const maxConfig = 1 << 20

// LoadConfig reads a configuration file. Unknown keys are errors. The result is
// not yet validated, so that flags can still override it.
func LoadConfig(path string) (Config, error) {
	var c Config
	info, err := os.Stat(path)
	if err != nil {
		return c, fmt.Errorf("config file: %w", err)
	}
	if info.Size() > maxConfig {
		return c, fmt.Errorf("config file %s has %d bytes: expected at most %d", path, info.Size(), maxConfig)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("config file: %w", err)
	}
	if err := yaml.UnmarshalStrict(b, &c); err != nil {
		return c, fmt.Errorf("config file %s: %w; see docs/configuration.md for the fields", path, err)
	}
	return c, nil
}

// WithDefaults fills in what was left out.
func (c Config) WithDefaults() Config {
	setDefault(&c.Zone, "clusterset.local")
	c.Zone = strings.ToLower(strings.TrimSuffix(c.Zone, "."))
	setDefault(&c.Listen.HTTP, "127.0.0.1:7480")
	setDefault(&c.Listen.Socket, filepath.Join(c.DataDir, "federator.sock"))
	if c.DNS.TTL == nil {
		ttl := catalog.Duration(5 * time.Second)
		c.DNS.TTL = &ttl
	}
	setDefault(&c.Raft.SnapshotThreshold, 8192)
	setDefault(&c.Raft.DeadServerAfter, catalog.Duration(10*time.Minute))
	setDefault(&c.LeafLifetime, catalog.Duration(24*time.Hour))
	if c.Kubernetes.Enabled {
		setDefault(&c.Kubernetes.SVIDLifetime, catalog.Duration(identity.WorkloadTTL))
	}
	setDefault(&c.Log.Level, "info")
	setDefault(&c.Log.Format, "text")
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports everything that is wrong with a configuration that has its
// defaults.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.DataDir == "" {
		bad("dataDir: expected a directory, found none; give --data-dir")
	}
	for label := range strings.SplitSeq(c.Zone, ".") {
		if err := catalog.ValidateLabel("zone label", label); err != nil {
			bad("zone %q: %w", c.Zone, err)
		}
	}
	for name, addr := range map[string]string{"listen.peer": c.Listen.Peer, "listen.gossip": c.Listen.Gossip} {
		if addr != "" {
			errs = append(errs, validateHostPort(name, addr))
		}
	}
	errs = append(errs, c.Advertise.validate())
	if c.Listen.HTTP != "off" {
		errs = append(errs, validateHostPort("listen.http", c.Listen.HTTP))
	}
	for i, addr := range c.Listen.DNS {
		errs = append(errs, validateHostPort(fmt.Sprintf("listen.dns[%d]", i), addr))
	}
	ttl := time.Duration(*c.DNS.TTL)
	if ttl < time.Second || ttl > 24*time.Hour || ttl%time.Second != 0 {
		bad("dns.ttl: expected whole seconds from 1s to 24h, found %s", ttl)
	}
	errs = append(errs,
		within("leafLifetime", c.LeafLifetime, time.Minute, 720*time.Hour),
		within("raft.deadServerAfter", c.Raft.DeadServerAfter, time.Second, 24*time.Hour))
	if life := c.Kubernetes.SVIDLifetime; life != 0 { // zero without Kubernetes
		errs = append(errs, within("kubernetes.svidLifetime", life, identity.MinWorkloadTTL, identity.MaxWorkloadTTL))
	}
	if n := c.Raft.SnapshotThreshold; n < 16 || n > 1_000_000 {
		bad("raft.snapshotThreshold: expected 16 to 1000000, found %d", n)
	}
	if k := c.Kubernetes; !k.Enabled && k.Kubeconfig+k.Context+k.Namespace != "" {
		bad("kubernetes.enabled: expected true beside the other fields of kubernetes, found false")
	} else if err := catalog.ValidateLabel("kubernetes.namespace", k.Namespace); k.Namespace != "" && err != nil {
		errs = append(errs, err)
	} else if k.Context != "" && k.Kubeconfig == "" {
		bad("kubernetes.context: expected kubernetes.kubeconfig beside it: a pod's service account has no contexts")
	}
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		bad("log.level: expected debug, info, warn or error, found %q", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		bad("log.format: expected text or json, found %q", c.Log.Format)
	}
	return errors.Join(errs...)
}

func within(name string, d catalog.Duration, low, high time.Duration) error {
	if v := time.Duration(d); v < low || v > high {
		return fmt.Errorf("%s: expected %s to %s, found %s", name, low, high, v)
	}
	return nil
}

func validateHostPort(name, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && port == "" {
		err = errors.New("no port")
	}
	if err != nil {
		return fmt.Errorf("%s %q: expected HOST:PORT, for example 10.0.0.5:7443 (%w)", name, addr, err)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%s %q: expected a port from 1 to 65535, found %q", name, addr, port)
	}
	if strings.ContainsAny(host, " /") {
		return fmt.Errorf("%s %q: expected a host name or an IP address before the port", name, addr)
	}
	return nil
}
