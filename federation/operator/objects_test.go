package operator

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
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
