package dns

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/federator/federator/federation/catalog"
)

const (
	// DefaultZone is the zone of the Multi-Cluster Services specification.
	DefaultZone = "clusterset.local"
	// DefaultTTL is the time to live of every record and negative answer.
	DefaultTTL = 5 * time.Second
	// DefaultRate is how many UDP answers a second one unknown public network gets.
	DefaultRate = 2000

	maxTTL = 24 * time.Hour
	// pairing is how long one client's draw for one service stays the same.
	pairing = time.Second
)

// Config says what a [Server] serves, and to whom.
type Config struct {
	// Zone is the apex, without a trailing dot; empty means [DefaultZone].
	Zone string
	// Own is where this replica is; unplaced clients count as being there.
	Own catalog.Locality
	// Cluster is the cluster that this replica belongs to. Clients in the networks that
	// it announces get the addresses of VIPs instead of endpoints, where there are some.
	Cluster string
	// VIPs are the clusterset IPs of that cluster; nil: it has none.
	VIPs VIPs
	// Listen has one IP:PORT per address, UDP and TCP alike; ":PORT" means every
	// address, port 0 any free one.
	Listen []string
	// TTL of every record, 1 s to 24 h in whole seconds; 0 means [DefaultTTL].
	TTL time.Duration
	// TrustedECS are the senders whose EDNS client subnet (RFC 7871) counts.
	TrustedECS []netip.Prefix
	// Resolvers are senders that many clients share, though a prefix places them.
	Resolvers []netip.Prefix
	// CookieSecret keys the server cookies (RFC 9018): 16 bytes, the same on all
	// replicas behind one address; empty means a random one.
	CookieSecret []byte
	// Rate bounds the UDP answers a second to one public /24 or /56 that nothing
	// above or in the catalog names, and no cookie proves; past it answers are
	// truncated to nothing, and the client asks again over TCP. 0 means
	// [DefaultRate], a negative number no bound.
	Rate int
	// Rand seeds the draws; nil means a random seed. It is used by one goroutine at
	// a time.
	Rand mathrand.Source
	// Clock is the wall clock; nil means time.Now.
	Clock func() time.Time
	// Logger and Registerer may be nil.
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// withDefaults fills in what was left empty and reports all that is wrong.
func (c Config) withDefaults() (Config, error) {
	c.Zone = strings.ToLower(strings.TrimSuffix(c.Zone, "."))
	if c.Zone == "" {
		c.Zone = DefaultZone
	}
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	c.Listen = slices.Clone(c.Listen)
	for i, a := range c.Listen {
		if strings.HasPrefix(a, ":") {
			c.Listen[i] = "[::]" + a
		}
	}
	if c.Rate == 0 {
		c.Rate = DefaultRate
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Rand == nil {
		c.Rand = mathrand.NewPCG(secretWord(), secretWord())
	}
	if len(c.CookieSecret) == 0 {
		c.CookieSecret = binary.LittleEndian.AppendUint64(nil, secretWord())
		c.CookieSecret = binary.LittleEndian.AppendUint64(c.CookieSecret, secretWord())
	}
	return c, c.validate()
}

func (c *Config) validate() error {
	var errs []error
	if len(c.Zone) > 100 {
		errs = append(errs, fmt.Errorf("DNS zone of %d characters: expected at most 100, so that names fit below it", len(c.Zone)))
	}
	for label := range strings.SplitSeq(c.Zone, ".") {
		if err := catalog.ValidateLabel("DNS zone "+c.Zone+": label", label); err != nil {
			errs = append(errs, err)
		}
	}
	if c.TTL < time.Second || c.TTL > maxTTL || c.TTL%time.Second != 0 {
		errs = append(errs, fmt.Errorf("DNS TTL %v: expected whole seconds from 1s to %v", c.TTL, maxTTL))
	}
	if len(c.CookieSecret) != 16 {
		errs = append(errs, fmt.Errorf("DNS cookie secret of %d bytes: expected 16", len(c.CookieSecret)))
	}
	if c.Own.Region == "" {
		errs = append(errs, errors.New("DNS server without a region: expected the replica's own locality"))
	}
	for _, a := range c.Listen {
		if _, err := netip.ParseAddrPort(a); err != nil {
			errs = append(errs, fmt.Errorf("DNS listen address %q: expected IP:PORT, for example 127.0.0.1:8600 or [::]:53: %w", a, err))
		}
	}
	return errors.Join(errs...)
}

func secretWord() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
