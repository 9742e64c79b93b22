package operator

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/rpc"
)

// What counts is that the operator had seen the deletion: neither what the region
// had adopted of it, nor what its clock says.
func TestAWriteFollowsADeletionElsewhere(t *testing.T) {
	tests := []struct {
		name  string
		held  bool          // the region holds what was deleted
		ahead time.Duration // how far the deletion is ahead of its clock
	}{
		{"of a version that the region holds", true, -time.Second},
		{"of one that it has yet to adopt", false, -time.Second},
		{"and the clock is a second behind", true, time.Second},
		{"and the clock is as far behind as is borne", true, state.MaxClockSkew - time.Minute},
		{"of one to adopt, and the clock is behind", false, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			europe := newEurope(w)
			if tt.held {
				_, err := w.server.ApplyPolicy(w.as(), &pb.ApplyPolicyRequest{Name: "default", Spec: []byte(`{"regionOrder":["us-west"]}`)})
				w.must(err)
				europe.adopts(w.own(europe.policy))
			} else {
				europe.do(time.Now().Add(-time.Minute), &state.PutObject{ObjectKey: europe.policy, Spec: []byte(`{}`)})
			}
			europe.do(time.Now().Add(tt.ahead), &state.PutObject{ObjectKey: europe.policy, Deleted: true})
			europe.publishes()
			if _, err := w.server.GetPolicy(w.as(), &pb.GetPolicyRequest{Name: "default"}); err == nil {
				t.Fatal("the deletion is not seen")
			}
			r, err := w.server.ApplyPolicy(w.as(), &pb.ApplyPolicyRequest{Name: "default", Spec: []byte(`{"regionOrder":["eu-central"]}`)})
			w.must(err)
			europe.adopts(w.own(europe.policy))
			for region, held := range map[string]*catalog.Object{"us-west": w.own(europe.policy), "eu-central": europe.state.Object(europe.policy)} {
				if held == nil || held.Deleted || held.Version.Generation != 3 || string(held.Spec) != string(r.GetPolicy().GetSpec()) {
					t.Errorf("expected %s to hold the write, in generation 3, found %v", region, held)
				}
			}
			if list, err := w.server.ListPolicies(w.as(), nil); err != nil || len(list.GetPolicies()) != 1 {
				t.Errorf("expected the policy to be listed, found %v, %v", list, err)
			}
		})
	}
}

func TestAWriteBesideAVersionThatIsNeverAdoptedIsRefused(t *testing.T) {
	w := newWorld(t)
	europe := newEurope(w)
	europe.do(time.Now().Add(state.MaxClockSkew+time.Minute), &state.PutObject{ObjectKey: europe.policy, Spec: []byte(`{"regionOrder":["eu-central"]}`)})
	europe.publishes()
	_, err := w.server.ApplyPolicy(w.as(), &pb.ApplyPolicyRequest{Name: "default", Spec: []byte(`{"regionOrder":["us-west"]}`)})
	wants(t, err, codes.FailedPrecondition, "CLOCK")
	if !strings.Contains(err.Error(), "eu-central is 6m0s ahead") || w.own(europe.policy) != nil {
		t.Errorf("expected nothing written and the skew named, found %v and %v", w.own(europe.policy), err)
	}
}

// europe is the state of the region eu-central, with a clock of its own.
type europe struct {
	w      *world
	state  *state.State
	seq    uint64
	policy catalog.ObjectKey
}

func newEurope(w *world) *europe {
	e := &europe{w: w, state: state.NewState(), seq: 1, policy: catalog.ObjectKey{Kind: catalog.KindPolicy, Name: catalog.DefaultPolicy}}
	e.do(time.Now(), &state.Found{TrustDomain: domain, Region: "eu-central", Epoch: 1, Founder: "e", Replica: replicaOf("eu-central", "e0", "eu-1")})
	return e
}

func (e *europe) do(now time.Time, cmd state.Command) {
	e.w.t.Helper()
	env, err := state.NewEnvelope(state.Meta{ID: state.NewID(), Time: now, Actor: "other"}, cmd)
	e.w.must(err)
	result, _, err := e.state.Apply(env)
	e.w.must(err)
	e.w.must(result.Err())
}

// adopts takes in what the other region holds.
func (e *europe) adopts(o *catalog.Object) {
	e.w.t.Helper()
	e.do(time.Now(), &state.MergeObjects{Objects: []catalog.Object{*o}})
}

// publishes sends the policy to us-west, whose leader has yet to adopt it.
func (e *europe) publishes() {
	e.w.t.Helper()
	e.seq++
	e.w.must(e.w.server.Catalog.Apply(catalog.Delta{
		Region: "eu-central", Version: catalog.Version{Epoch: 1, Seq: e.seq}, Upserts: []catalog.Record{{Object: e.state.Object(e.policy)}},
	}, time.Now()))
}

// own is what the Raft of us-west holds.
func (w *world) own(key catalog.ObjectKey) (o *catalog.Object) {
	w.node.Read(func(s *state.State) { o = s.Object(key) })
	return o
}

func TestAConsistentReadCatchesUpFirstAndTellsWhatTheRegionAgreedOn(t *testing.T) {
	w := newWorld(t)
	europe := newEurope(w)
	europe.do(time.Now(), &state.PutObject{ObjectKey: europe.policy, Spec: []byte(`{}`)})
	europe.publishes()
	read := func(consistent bool) (listed int, get error) {
		t.Helper()
		list, err := w.server.ListPolicies(w.as(), &pb.ListPoliciesRequest{Consistent: consistent})
		w.must(err)
		_, get = w.server.GetPolicy(w.as(), &pb.GetPolicyRequest{Name: "default", Consistent: consistent})
		return len(list.GetPolicies()), get
	}
	if n, err := read(false); n != 1 || err != nil || w.caughtUp != 0 {
		t.Errorf("expected what is known of other regions, found %d, %v, %d", n, err, w.caughtUp)
	}
	if n, err := read(true); n != 0 || rpc.Reason(err) != "NOT_FOUND" || w.caughtUp != 2 {
		t.Errorf("expected what the region has agreed on, found %d, %v, %d", n, err, w.caughtUp)
	}
	w.do(&state.MergeObjects{Objects: []catalog.Object{*europe.state.Object(europe.policy)}})
	if n, err := read(true); n != 1 || err != nil {
		t.Errorf("expected what was adopted, found %d, %v", n, err)
	}
	w.cannotCatchUp = state.FromCode("no-quorum", "none leads")
	_, err := w.server.ListPolicies(w.as(), &pb.ListPoliciesRequest{Consistent: true})
	wants(t, err, codes.FailedPrecondition, "NO_QUORUM")
	_, err = w.server.GetPolicy(w.as(), &pb.GetPolicyRequest{Name: "default", Consistent: true})
	wants(t, err, codes.FailedPrecondition, "NO_QUORUM")
}

// "Unchanged" and "there is none" acknowledge something, so a replica that lags
// must not say them of itself.
func TestAnAnswerThatChangesNothingIsConfirmedByTheRegion(t *testing.T) {
	w := newWorld(t)
	apply := func(dry bool) (*pb.ApplyPolicyResponse, error) {
		return w.server.ApplyPolicy(w.as(), &pb.ApplyPolicyRequest{Name: "default", Spec: []byte(`{"regionOrder":["us-west"]}`), DryRun: dry})
	}
	_, err := w.server.DeletePolicy(w.as(), &pb.DeletePolicyRequest{Name: "default"})
	wants(t, err, codes.NotFound, "NOT_FOUND")
	if w.caughtUp != 1 {
		t.Errorf("expected the region to be asked whether there is none, found %d times", w.caughtUp)
	}
	if r, err := apply(false); err != nil || r.GetAction() != "created" || w.caughtUp != 1 {
		t.Fatalf("%v, %v", r, err)
	}
	if r, err := apply(true); err != nil || r.GetAction() != "unchanged" || w.caughtUp != 1 {
		t.Errorf("a dry run needs no region: %v, %v", r, err)
	}
	if r, err := apply(false); err != nil || r.GetAction() != "unchanged" || w.caughtUp != 2 {
		t.Errorf("expected it to be confirmed, found %v, %v, %d", r, err, w.caughtUp)
	}
	// What arrives while this replica catches up counts.
	key := catalog.ObjectKey{Kind: catalog.KindPolicy, Name: catalog.DefaultPolicy}
	w.arriving = &state.PutObject{ObjectKey: key, Spec: []byte(`{"regionOrder":["eu-central"]}`)}
	if r, err := apply(false); err != nil || r.GetAction() != "changed" || r.GetPolicy().GetMeta().GetGeneration() != 3 {
		t.Errorf("expected it to be written again, found %v, %v", r, err)
	}
	w.do(&state.PutObject{ObjectKey: key, Deleted: true})
	w.arriving = &state.PutObject{ObjectKey: key, Spec: []byte(`{}`)}
	if _, err := w.server.DeletePolicy(w.as(), &pb.DeletePolicyRequest{Name: "default"}); err != nil {
		t.Errorf("expected what arrived meanwhile to be deleted, found %v", err)
	}
	w.cannotCatchUp = state.FromCode("no-quorum", "none leads")
	_, err = w.server.DeletePolicy(w.as(), &pb.DeletePolicyRequest{Name: "default"})
	wants(t, err, codes.FailedPrecondition, "NO_QUORUM")
}
