package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

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
