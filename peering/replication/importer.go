package replication

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/federator/federator/federation/catalog"
)

// Sink takes what links receive. It is called by one goroutine per region.
type Sink interface {
	// Reset replaces the state of a region, unless it is not newer; see
	// [catalog.Snapshot.Replaces].
	Reset(catalog.Snapshot) error
	// Apply applies one change. It ignores one that is contained already and
	// returns catalog.ErrGap for one whose predecessor is missing.
	Apply(catalog.Delta) error
	// Version is what is held of a region, zero if nothing.
	Version(region string) catalog.Version
	// Partial reports whether what is held lacks fields; see [catalog.Snapshot.Partial].
	Partial(region string) bool
}

// Dial opens a connection to the peering port of a replica. The importer closes
// it when the stream ends, so it should not be shared.
type Dial func(context.Context, catalog.Replica) (grpc.ClientConnInterface, io.Closer, error)

// Directory says who there is.
type Directory struct {
	// Regions has an entry for every region to import, with the replicas that
	// are known of it, maybe none.
	Regions map[string][]catalog.Replica
	// Siblings are the other replicas of the own region.
	Siblings []catalog.Replica
}

// ImporterConfig is what an [Importer] needs. Fields without a default are required.
type ImporterConfig struct {
	// Region is the own region; it is never imported.
	Region string
	// Epoch returns the epoch of the own region now.
	Epoch func() uint64
	// PeerAddress and GossipAddress are where this replica is reached, for those
	// it asks; optional.
	PeerAddress, GossipAddress string
	// Protocol is that of the region's Raft which this build understands. A sibling
	// that does not may lack fields of what it would relay. 0: all siblings do.
	Protocol int
	Sink     Sink
	Dial     Dial
	// Directory is read at the start, and again after each signal on Changed.
	Directory func() Directory
	Changed   <-chan struct{}
	// Removed reports whether an epoch of a region was removed from the
	// federation; nothing is imported from it. Nil means that none was.
	Removed    func(region string, epoch uint64) bool
	Logger     *slog.Logger          // default: discard
	Registerer prometheus.Registerer // default: none
	Now        func() time.Time      // default: time.Now
	Random     func() float64        // in [0, 1), safe for concurrent use; default: math/rand
	// Stall is how long a stream may be silent before another upstream is tried
	// (default 3 s), and the limit of freshness for a link to count as synced.
	Stall time.Duration
	// RetryBase and RetryLimit bound the delay after failures of an upstream
	// (default 250 ms and 4 s).
	RetryBase, RetryLimit time.Duration
}

// Importer keeps one link for every other region. It is safe for concurrent use.
type Importer struct {
	cfg     ImporterConfig
	metrics *importMetrics
	mu      sync.Mutex
	dir     Directory
	links   map[string]*link
}

// LinkStatus is the state of the link to one region, derived from the freshness
// of its data.
type LinkStatus struct {
	Region string
	// Upstream is the replica that the stream comes from, "" while there is none.
	Upstream string
	// Direct: the upstream is of the region itself, not a sibling that relays.
	Direct bool
	// Version is what is held, Announced the newest that the region is known to have.
	Version, Announced catalog.Version
	// LastEvent is when the region was last heard from; through a relay, when
	// the relay heard from it. Zero is never.
	LastEvent time.Time
	// Synced: everything announced is held and the region was heard from within
	// the stall limit.
	Synced bool
	// Error is why the link is not synced, "" if it is.
	Error string
	// RemovedEpoch is the epoch of the own region that the other one knows as
	// removed from the federation; zero if it does not.
	RemovedEpoch uint64
}

// Lag is the number of announced changes that are not held; for another epoch,
// of which a snapshot must come first, its whole sequence.
func (s LinkStatus) Lag() uint64 {
	switch {
	case s.Announced.Compare(s.Version) <= 0:
		return 0
	case s.Announced.Epoch != s.Version.Epoch:
		return s.Announced.Seq
	}
	return s.Announced.Seq - s.Version.Seq
}

// NewImporter returns an importer. It fails only if its metrics cannot be registered.
func NewImporter(cfg ImporterConfig) (*Importer, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Removed == nil {
		cfg.Removed = func(string, uint64) bool { return false }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	orDefault(&cfg.Stall, 3*time.Second)
	orDefault(&cfg.RetryBase, 250*time.Millisecond)
	orDefault(&cfg.RetryLimit, 4*time.Second)
	im := &Importer{cfg: cfg, links: map[string]*link{}}
	var err error
	im.metrics, err = newImportMetrics(cfg.Registerer, newLinkCollector(im.Status, cfg.Now))
	return im, err
}

// Run keeps the links until the context ends. It returns nil then.
func (im *Importer) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		im.update(ctx, &running)
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-im.cfg.Changed:
			if !ok {
				<-ctx.Done()
				return nil
			}
		}
	}
}

// update makes the links those of the directory.
func (im *Importer) update(ctx context.Context, running *sync.WaitGroup) {
	dir := im.cfg.Directory()
	im.mu.Lock()
	defer im.mu.Unlock()
	im.dir = dir
	for region, l := range im.links {
		if _, ok := dir.Regions[region]; !ok {
			l.stop(errLeft)
			delete(im.links, region)
		}
	}
	for region := range dir.Regions {
		if l, ok := im.links[region]; ok {
			l.nudge()
		} else if region != im.cfg.Region {
			l := newLink(im, region)
			linkCtx, stop := context.WithCancelCause(ctx)
			l.stop = stop
			im.links[region] = l
			running.Go(func() { defer stop(nil); l.run(linkCtx) })
		}
	}
}

var errLeft = errors.New("the region is not in the directory any more")

// candidates lists the upstreams that a region's state can come from.
func (im *Importer) candidates(region string) []upstream {
	im.mu.Lock()
	defer im.mu.Unlock()
	var out []upstream
	for _, r := range im.dir.Regions[region] {
		out = append(out, upstream{Replica: r})
	}
	for _, r := range im.dir.Siblings {
		if r.MaxProtocol >= im.cfg.Protocol {
			out = append(out, upstream{Replica: r, relays: true})
		}
	}
	return out
}

func (im *Importer) link(region string) *link {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.links[region]
}

// Status returns the state of all links, ordered by region.
func (im *Importer) Status() []LinkStatus {
	im.mu.Lock()
	links := make([]*link, 0, len(im.links))
	for _, l := range im.links {
		links = append(links, l)
	}
	im.mu.Unlock()
	out := make([]LinkStatus, len(links))
	for i, l := range links {
		out[i] = l.status()
	}
	slices.SortFunc(out, func(a, b LinkStatus) int { return strings.Compare(a.Region, b.Region) })
	return out
}

// Evidence is when a region was last heard from on its stream, zero if never or
// if its last word was that it does not hear this region; see
// [LinkStatus.LastEvent].
func (im *Importer) Evidence(region string) time.Time {
	if l := im.link(region); l != nil {
		return l.evidence()
	}
	return time.Time{}
}

// Synced reports whether everything that a region announced is held and it was
// heard from within the stall limit.
func (im *Importer) Synced(region string) bool {
	l := im.link(region)
	return l != nil && l.status().Synced
}
