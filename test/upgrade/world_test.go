package upgrade

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
)

const checkout = "shop/checkout"

// patience is how long what comes about by itself is waited for.
const patience = time.Minute

// world is two regions under load: lookups at every replica that is up, and
// writes in both regions.
type world struct {
	t         *testing.T
	fleet     *fleet.Fleet
	old       string            // the build that it began with
	endpoints []*fleet.Endpoint // of checkout, in west
	writers   []*writer
	watches   map[*fleet.Replica]func() int
	lookups   int

	mu sync.Mutex
	up []*fleet.Replica
}

// newWorld founds west with three replicas and east with one, of the given build.
func newWorld(t *testing.T, binary string) *world {
	t.Helper()
	f := fleet.New(t, binary)
	f.Config = f.Write("config.yaml", "raft: {snapshotThreshold: 16}\n")
	w := &world{t: t, fleet: f, old: binary, endpoints: f.Endpoints(3), watches: map[*fleet.Replica]func() int{}}
	f.Serve("west", fleet.ServicesFile(checkout, w.endpoints...))
	f.Grow(1, "west", "east")
	for _, name := range []string{"west-1", "west-2"} {
		f.Join(f.Replicas("west")[0], "west", name)
	}
	f.Voters("west")
	f.AnswersAll(patience, f.Replicas(""), checkout, "west", w.endpoints...)
	for _, r := range f.Replicas("") { // all of which have answered by now
		w.rise(r)
	}
	w.writers = []*writer{w.write("west"), w.write("east")}
	return w
}

// rise puts a replica that is ready under load, fall takes it out.
func (w *world) rise(r *fleet.Replica) {
	w.watches[r] = w.fleet.Watch(fleet.ServiceName(checkout), r)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up = append(w.up, r)
}

func (w *world) fall(r *fleet.Replica) {
	w.lookups += w.watches[r]()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up = slices.DeleteFunc(w.up, func(other *fleet.Replica) bool { return other == r })
}

// risen are the replicas that are up, of one region or of all.
func (w *world) risen(region string) []*fleet.Replica {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.up), func(r *fleet.Replica) bool { return region != "" && r.Region != region })
}

// roll replaces the build of one replica, with an endpoint that falls sick while
// the replica is down and recovers when it is back.
func (w *world) roll(r *fleet.Replica, binary string) {
	f, begun := w.fleet, time.Now()
	f.Helper()
	w.fall(r)
	r.Stop()
	w.endpoints[0].Fail()
	f.AnswersAll(patience, w.risen(""), checkout, "west", w.endpoints[1:]...)
	for _, writer := range w.writers {
		if len(w.risen(writer.region)) > 0 {
			writer.advances()
		}
	}
	r.StartWith(binary)
	r.Ready()
	if binary == w.old {
		// That build says that it is ready a moment before its DNS is open.
		f.Until(patience, r.String()+" to answer", func() error { return named(r.Lookup(fleet.ServiceName(checkout))) })
	}
	w.rise(r)
	f.AnswersAll(patience, []*fleet.Replica{r}, checkout, "west", w.endpoints[1:]...)
	w.endpoints[0].Recover()
	f.AnswersAll(patience, w.risen(""), checkout, "west", w.endpoints...)
	f.Until(patience, r.String()+" to take part again", func() error { return takesPart(r, f.Replicas(r.Region)) })
	w.t.Logf("%s was rolled in %v", r, time.Since(begun).Round(time.Millisecond))
}

// named is nil for a lookup that found an address.
func named(found []string, err error) error {
	if err == nil && len(found) == 0 {
		err = errors.New("expected an address, found none")
	}
	return err
}

// rollRegion replaces the build of west: its followers first, its leader last.
func (w *world) rollRegion(binary string) {
	w.fleet.Helper()
	leader := w.fleet.Voters("west")
	for _, r := range w.fleet.Replicas("west") {
		if r != leader {
			w.roll(r, binary)
		}
	}
	w.roll(leader, binary)
}

// agree waits until everybody has what was acknowledged in both regions so far.
func (w *world) agree(when string) {
	f := w.fleet
	f.Helper()
	for _, writer := range w.writers {
		policies, services := writer.acknowledged()
		for _, r := range w.risen("") {
			f.Until(patience, fmt.Sprintf("%s to have what was written in %s (%s)", r, writer.region, when), func() error {
				if err := hasPolicies(r, policies...); err != nil {
					return err
				}
				return hasServices(r, services...)
			})
		}
	}
	west, east := f.Replicas("west"), f.Replicas("east")
	f.Until(patience, "east to follow west ("+when+")", func() error { return follows(east[0], "west") })
	for _, r := range w.risen("") {
		f.Until(patience, r.String()+" to be content ("+when+")", func() error { return content(r) })
	}
	for _, r := range west {
		f.Until(patience, r.String()+" to follow east ("+when+")", func() error { return follows(r, "east") })
	}
}

// runsAt waits until the replicas know the protocol that their region runs at.
func (w *world) runsAt(replicas []*fleet.Replica, protocol int) {
	w.fleet.Helper()
	for _, r := range replicas {
		w.fleet.Until(patience, fmt.Sprintf("%s to run at protocol %d", r, protocol), func() error {
			return call(r, func(ctx context.Context, c pb.OperatorClient) error {
				v, err := c.Version(ctx, &pb.VersionRequest{})
				if err == nil && int(v.GetProtocol()) != protocol {
					err = fmt.Errorf("found protocol %d", v.GetProtocol())
				}
				return err
			})
		})
	}
}

// snapshots waits until every replica of west has written a snapshot that begins
// after now.
func (w *world) snapshots() {
	w.fleet.Helper()
	west := w.fleet.Replicas("west")
	var applied uint64
	w.fleet.Until(patience, west[0].String()+" to say what it has applied", func() error {
		s, err := west[0].Status()
		applied = s.GetRaft().GetAppliedIndex()
		return err
	})
	for _, r := range west {
		w.fleet.Until(patience, fmt.Sprintf("%s to write a snapshot beyond %d", r, applied), func() error {
			s, err := r.Status()
			if err == nil && s.GetRaft().GetSnapshotIndex() <= applied {
				err = fmt.Errorf("its snapshot is at %d", s.GetRaft().GetSnapshotIndex())
			}
			return err
		})
	}
}

// finish ends the load and counts it.
func (w *world) finish() {
	w.fleet.Helper()
	for _, writer := range w.writers {
		writer.end()
	}
	w.agree("at the end")
	for _, r := range w.fleet.Replicas("") {
		w.fall(r)
	}
	for _, writer := range w.writers {
		policies, services := writer.acknowledged()
		w.t.Logf("%s: %d policies and %d services were acknowledged, %d writes were not", writer.region, len(policies), len(services), writer.refused())
	}
	w.t.Logf("%d lookups", w.lookups)
}
