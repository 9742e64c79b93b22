package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/federator/federator/federation/catalog"
)

// Config is what a [Gossip] needs. Fields marked optional may be zero.
type Config struct {
	// Region and Name are this replica's; TrustDomain keeps federations apart.
	Region, Name, TrustDomain string
	// Conn is the UDP socket; Run closes it. Advertise is its address as others
	// reach it, by default the local address of Conn. It counts only for those that
	// have no record of this replica, or one whose address is no host name, or is one
	// that they have not found yet.
	// PeerAddress is host:port of this replica's mTLS port as others reach it; it
	// travels in the node's meta.
	Conn        net.PacketConn
	Advertise   netip.AddrPort
	PeerAddress string
	// Keyring seals every packet.
	Keyring *Keyring
	// Dial opens an authenticated stream to the gossip service at the TCP address
	// of a peer, and Listener accepts them; Run closes the Listener.
	Dial     func(ctx context.Context, address string) (net.Conn, error)
	Listener Listener
	// Peers lists all known replicas of all regions that are not removed, with or
	// without this one. It is asked about once a second.
	Peers func() []catalog.Replica
	// Allowed refuses replicas of removed regions; optional.
	Allowed func(region, name string) error
	// Shut reports whether this replica practises being cut off: packets then come
	// from and go to the replicas of the own region only. Streams are for Dial and
	// Listener to refuse; optional.
	Shut func() bool
	// StreamEvidence is when a region's replication stream last brought bytes, and
	// Synced whether it has caught up; optional.
	StreamEvidence func(region string) time.Time
	Synced         func(region string) bool

	// ApplyHealth merges changes into the catalog and returns those that were news
	// to it. Pending returns the unconfirmed changes of a cluster, and Digest sums
	// them up for every cluster. All are called from several goroutines and must
	// not block.
	ApplyHealth func(catalog.HealthDelta) []catalog.HealthChange
	Pending     func(cluster string) []catalog.HealthChange
	Digest      func() []catalog.HealthDigest

	// OnReach is told every new verdict, OnRTT every round-trip time that moved by
	// more than a fifth, both from one goroutine; optional.
	OnReach func(Reach)
	OnRTT   func(region string, rtt time.Duration)

	// Clock is time.Now unless a test needs another; it must be monotonic.
	Clock func() time.Time
	// Rand returns random bits for jitter and choice; optional. It is called from
	// several goroutines.
	Rand       func() uint64
	Logger     *slog.Logger          // optional
	Registerer prometheus.Registerer // optional
}

// Listener accepts streams; a net.Listener is one.
type Listener interface {
	Accept() (net.Conn, error)
	Close() error
}

// Validate reports everything that is wrong with the configuration.
func (c *Config) Validate() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("gossip: %s is required", what))
		}
	}
	errs = append(errs, catalog.ValidateLabel("region", c.Region), catalog.ValidateLabel("replica", c.Name))
	if len(c.TrustDomain) == 0 || len(c.TrustDomain) > maxString {
		errs = append(errs, fmt.Errorf("gossip: trust domain: expected 1 to %d bytes, found %d", maxString, len(c.TrustDomain)))
	}
	if len(c.PeerAddress) > maxString {
		errs = append(errs, fmt.Errorf("gossip: peer address: expected at most %d bytes, found %d", maxString, len(c.PeerAddress)))
	}
	need(c.Conn != nil, "Conn")
	need(c.Keyring != nil, "Keyring")
	need(c.Dial != nil, "Dial")
	need(c.Listener != nil, "Listener")
	need(c.Peers != nil, "Peers")
	need(c.ApplyHealth != nil, "ApplyHealth")
	need(c.Pending != nil, "Pending")
	need(c.Digest != nil, "Digest")
	return errors.Join(errs...)
}

// withDefaults returns the configuration with its optional fields filled in.
func (c Config) withDefaults(random func() uint64) (Config, error) {
	if !c.Advertise.IsValid() {
		a, err := netip.ParseAddrPort(c.Conn.LocalAddr().String())
		if err != nil {
			return c, fmt.Errorf("gossip: local address %s: %w; set Advertise", c.Conn.LocalAddr(), err)
		}
		c.Advertise = a
	}
	if c.Advertise.Addr().IsUnspecified() {
		return c, fmt.Errorf("gossip: expected an address that others can reach, found %s; set the advertised gossip address", c.Advertise)
	}
	if c.Allowed == nil {
		c.Allowed = func(string, string) error { return nil }
	}
	if c.Shut == nil {
		c.Shut = func() bool { return false }
	}
	if c.StreamEvidence == nil {
		c.StreamEvidence = func(string) time.Time { return time.Time{} }
	}
	if c.Synced == nil {
		c.Synced = func(string) bool { return true }
	}
	if c.OnReach == nil {
		c.OnReach = func(Reach) {}
	}
	if c.OnRTT == nil {
		c.OnRTT = func(string, time.Duration) {}
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Rand == nil {
		c.Rand = random
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
