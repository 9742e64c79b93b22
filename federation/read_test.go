package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
)

// counted is an object that holds a number.
func counted() catalog.ObjectKey {
	return catalog.ObjectKey{Kind: catalog.KindPolicy, Name: catalog.DefaultPolicy}
}

// put writes the number over a replica.
func (a *agent) put(ctx context.Context, n int64) error {
	spec, err := json.Marshal(n)
	if err != nil {
		return err
	}
	_, err = a.proposer.Propose(ctx, a.systemMeta(), &state.PutObject{ObjectKey: counted(), Spec: spec})
	return err
}

// number is what a replica holds of it.
func (a *agent) number() (n int64) {
	a.node.Read(func(s *state.State) {
		if o := s.Object(counted()); o != nil {
			_ = json.Unmarshal(o.Spec, &n) // put wrote it
		}
	})
	return n
}

func TestAReadAfterCatchingUpHoldsAllThatWasAcknowledgedOnAnyReplica(t *testing.T) {
	t.Parallel()
	a := initialise(t, "us-west", "a", "")
	all := []*agent{a, a.admit(t, "us-west", "b", ""), a.admit(t, "us-west", "c", "")}
	eventually(t, longest, "three voters", func() bool { return voters(a) == 3 })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	leaders := readWhileTheLeaderChanges(ctx, t, all)
	if len(leaders) < 2 {
		t.Errorf("the leader never changed: %v", leaders)
	}
	lost := leading(t, all) // and not asked to hand over
	_ = all[lost].stop()
	all = slices.Delete(all, lost, lost+1)
	if err := all[0].put(ctx, 1000); err != nil {
		t.Fatal(err)
	}
	if err := all[1].proposer.CatchUp(ctx); err != nil || all[1].number() != 1000 {
		t.Errorf("expected the newest number on the other replica, found %d, %v", all[1].number(), err)
	}
	_ = all[0].stop()
	inTime(t, "", 3*time.Second, func(t *testing.T, _ string, limit time.Duration) (why string) {
		short, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		err := all[1].proposer.CatchUp(short)
		if state.CodeOf(err) != "no-quorum" || !strings.Contains(err.Error(), "federator status") || short.Err() != nil {
			return fmt.Sprintf("expected to hear before the deadline that there is no quorum, found %v", err)
		}
		return ""
	})
}

// readWhileTheLeaderChanges writes numbers that grow and reads them everywhere: a
// read must hold what was acknowledged before it began. It returns who led.
func readWhileTheLeaderChanges(ctx context.Context, t *testing.T, all []*agent) map[string]bool {
	var acknowledged atomic.Int64
	var reads atomic.Int64
	done := make(chan struct{})
	var readers sync.WaitGroup
	for _, r := range all {
		readers.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-done:
					return
				default:
				}
				before := acknowledged.Load()
				if err := r.proposer.CatchUp(ctx); err != nil {
					t.Errorf("%s: %v", r.card.Replica.Name, err)
					return
				}
				if n := r.number(); n < before {
					t.Errorf("%s read %d when %d was acknowledged", r.card.Replica.Name, n, before)
				}
				reads.Add(1)
			}
		})
	}
	leaders := map[string]bool{}
	for i := int64(1); i <= 60 || len(leaders) < 2 && ctx.Err() == nil; i++ {
		if err := all[i%3].put(ctx, i); err != nil {
			t.Errorf("write %d: %v", i, err)
			break
		}
		acknowledged.Store(i)
		for _, r := range all {
			if r.node.IsLeader() {
				leaders[r.card.Replica.Name] = true
				if i%10 == 0 {
					_ = r.node.TransferLeadership() // one that fails changes nothing
				}
			}
		}
	}
	close(done)
	readers.Wait()
	if reads.Load() < 10 {
		t.Errorf("only %d reads", reads.Load())
	}
	return leaders
}
