package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/replication"
)

// replicasOf returns the known replicas of a region, or the seeds of the join
// while nothing else is known.
func (r *Replica) replicasOf(region string) []catalog.Replica {
	var out []catalog.Replica
	r.catalog.Records(region, catalog.RecordReplica, func(rec *catalog.Record) bool {
		out = append(out, *rec.Replica)
		return true
	})
	held := r.catalog.Version(region).Epoch
	for _, rec := range r.registry() {
		if rec.Name == region && rec.Seed != nil && !rec.Removed && (len(out) == 0 || rec.Epoch > held) {
			out = append(out, *rec.Seed) // founded, or restored elsewhere, since
		}
	}
	out = append(out, r.callers.of(region, out)...)
	if len(out) > 0 {
		return out
	}
	for _, seed := range r.card.Seeds {
		if seed.Region == region {
			out = append(out, seed)
		}
	}
	return out
}

// callers remembers where replicas of other regions said that they are reached,
// when they asked for a stream. Their records know it better, but cannot arrive
// from a region whose addresses have all changed.
type callers struct {
	mu    sync.Mutex
	heard map[string]heardCaller // by region/name
}

type heardCaller struct {
	catalog.Replica
	at time.Time
}

const (
	// callerValid is how long a caller's word for its address counts.
	callerValid = time.Minute
	// maxCallers bounds how many are remembered.
	maxCallers = 4096
)

// heard notes where a caller is reached.
func (r *Replica) heard(c replication.Caller, peerAddress, gossipAddress string) {
	if c.Region == r.card.Replica.Region {
		return
	}
	replica := catalog.Replica{Name: c.Replica, Region: c.Region, PeerAddress: peerAddress, GossipAddress: gossipAddress}
	r.callers.mu.Lock()
	defer r.callers.mu.Unlock()
	if r.callers.heard == nil || len(r.callers.heard) >= maxCallers {
		r.callers.heard = map[string]heardCaller{}
	}
	r.callers.heard[c.Region+"/"+c.Replica] = heardCaller{replica, time.Now()}
}

// of returns the callers of a region that are not among the known replicas, or
// are at another address.
func (c *callers) of(region string, known []catalog.Replica) []catalog.Replica {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []catalog.Replica
	for _, h := range c.heard {
		there := func(k catalog.Replica) bool { return k.Name == h.Name && k.PeerAddress == h.PeerAddress }
		if h.Region == region && time.Since(h.at) < callerValid && !slices.ContainsFunc(known, there) {
			out = append(out, h.Replica)
		}
	}
	slices.SortFunc(out, func(a, b catalog.Replica) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// siblings returns the other replicas of the own region.
func (r *Replica) siblings() []catalog.Replica {
	return slices.DeleteFunc(r.replicasOf(r.card.Replica.Region), func(s catalog.Replica) bool {
		return s.Name == r.card.Replica.Name
	})
}

// registry returns the regions that are or were members, as the authority
// region publishes them.
func (r *Replica) registry() []*catalog.Region {
	var out []*catalog.Region
	r.catalog.Records(r.card.Authority, catalog.RecordRegion, func(rec *catalog.Record) bool {
		out = append(out, rec.Region)
		return true
	})
	return out
}

// otherRegions returns the names of the other regions that are members.
func (r *Replica) otherRegions() []string {
	names := map[string]bool{r.card.Authority: true}
	for _, seed := range r.card.Seeds {
		names[seed.Region] = true
	}
	for _, name := range r.catalog.Known() {
		names[name] = true
	}
	for _, region := range r.registry() {
		if region.Removed {
			delete(names, region.Name)
		} else {
			names[region.Name] = true
		}
	}
	delete(names, r.card.Replica.Region)
	return slices.Sorted(maps.Keys(names))
}

// removed reports whether that epoch of a region was removed for good.
func (r *Replica) removed(region string, epoch uint64) bool {
	for _, rec := range r.registry() {
		if rec.Name == region {
			return rec.Removed && epoch <= rec.Epoch
		}
	}
	return false
}

// everybody returns all known replicas of all members, own region included.
func (r *Replica) everybody() []catalog.Replica {
	all := r.replicasOf(r.card.Replica.Region)
	for _, region := range r.otherRegions() {
		all = append(all, r.replicasOf(region)...)
	}
	return all
}

// imports says what to import, and from whom.
func (r *Replica) imports() replication.Directory {
	d := replication.Directory{Regions: map[string][]catalog.Replica{}, Siblings: r.siblings()}
	for _, region := range r.otherRegions() {
		d.Regions[region] = r.replicasOf(region)
	}
	return d
}

// allowed refuses replicas of removed regions in gossip.
func (r *Replica) allowed(region, _ string) error {
	if region != r.card.Replica.Region && !slices.Contains(r.otherRegions(), region) {
		return fmt.Errorf("region %s is not a member of the federation", region)
	}
	return nil
}

// secrets returns the region's sealed secrets.
func (r *Replica) secrets() (out []state.Secret) {
	r.node.Read(func(s *state.State) { out = s.Secrets() })
	return out
}

// exports is what other replicas may have: the own region only while it may
// publish, and the imported ones as they are.
type exports struct {
	*replication.Feed
	region    string
	publishes func() bool
}

func (e exports) Version(region string) catalog.Version {
	if region == e.region && !e.publishes() {
		return catalog.Version{}
	}
	return e.Feed.Version(region)
}

func (e exports) Snapshot(region string) (catalog.Snapshot, bool) {
	if region == e.region && !e.publishes() {
		return catalog.Snapshot{}, false
	}
	return e.Feed.Snapshot(region)
}

// readFounding returns what the region is to be founded with; nil if it is
// founded, or by another replica.
func (d dataDir) readFounding() (*founding, error) {
	b, err := os.ReadFile(d.founding())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := new(founding)
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w); empty the directory and run init or join again", d.founding(), err)
	}
	return f, nil
}
