package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
)

func TestACompromisedReplicaLeavesWithWordOfWhatItKnew(t *testing.T) {
	w := newWorld(t)
	w.do(&state.AdmitReplica{Replica: replicaOf("us-west", "b", "west-1")})
	rotations, held := 0, [][]byte{[]byte("one")}
	w.server.Config.Revoke = func(context.Context, catalog.Replica, string, string) error { return nil }
	w.server.Config.RotateKeyring = func(context.Context, []string) error { rotations++; return nil }
	w.server.Config.Keyring = func(context.Context) (uint64, [][]byte, []string) { return 1, held, nil }
	leave := func(name string) string {
		r, err := w.server.Leave(w.as(), &pb.LeaveRequest{Name: name, Force: true, Compromised: true})
		w.must(err)
		return strings.Join(r.GetWarnings(), "\n")
	}
	if said := leave("b"); rotations != 1 || !strings.Contains(said, "a rotation has begun") || strings.Contains(said, "certificate authority") {
		t.Errorf("a standby knew the gossip key only: %d rotations, %s", rotations, said)
	}
	held = append(held, []byte("two"))
	if said := leave("a"); rotations != 1 || !strings.Contains(said, "rotate again") || !strings.Contains(said, "certificate authority of region us-west") || !strings.Contains(said, "root key") {
		t.Errorf("a voter of the authority region knew everything: %d rotations, %s", rotations, said)
	}
}

// voting is a region's Raft with these voters, the first of which leads.
type voting struct {
	Raft
	voters []string
}

func (v voting) Stats() state.Stats {
	out := v.Raft.Stats()
	out.Servers = nil
	for _, name := range v.voters {
		id := replicaOf("us-west", name, "west-1")
		out.Servers = append(out.Servers, state.Server{ID: id.RaftID(), Voter: true})
	}
	out.Leader = out.Servers[0].ID
	return out
}

// proposed takes commands, and has something happen once each is applied.
type proposed struct {
	*world
	then func() error
}

func (p *proposed) Propose(ctx context.Context, meta state.Meta, cmd state.Command) (state.Result, error) {
	result, err := p.world.Propose(ctx, meta, cmd)
	return result, errors.Join(err, p.then())
}

// A pod that is killed while it leaves comes back with its disk: without the mark it
// would be nobody's member for good.
func TestAReplicaThatLeavesIsMarkedBeforeItIsOutOfRaft(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"b", "c"} {
		w.do(&state.AdmitReplica{Replica: replicaOf("us-west", name, "west-1")})
	}
	w.server.Raft = voting{w.node, []string{"b", "a", "c"}} // and stays so
	ctx, stop := context.WithCancel(w.as())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := w.server.Leave(ctx, &pb.LeaveRequest{})
		ended <- err
	}()
	select {
	case left := <-w.marked:
		if left != 0 {
			t.Error("it was marked only when the wait was over")
		}
	case <-ended:
		t.Fatal("it left without a mark")
	case <-time.After(30 * time.Second):
		t.Fatal("no mark")
	}
	var registered bool
	w.node.Read(func(s *state.State) { registered = s.Replica("a") != nil })
	if registered {
		t.Error("it was marked before it was removed")
	}
	stop()
	if err := <-ended; err != nil || w.left != 1 {
		t.Errorf("found %v, left %d times", err, w.left)
	}
}

// Where only the replica that leaves can make others vote, an emptied disk would be the
// end of the region.
func TestAReplicaThatIsNeededToBeTakenOutIsNotMarkedBefore(t *testing.T) {
	for name, test := range map[string]struct {
		voters  []string
		dead    string
		leaving string
	}{
		"the only voter":                     {[]string{"a"}, "", ""},
		"one of two voters":                  {[]string{"b", "a"}, "", ""},
		"one of three, of which one is dead": {[]string{"b", "a", "c"}, "c", ""},
		"one of three, of which one leaves":  {[]string{"b", "a", "c"}, "", "c"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, name := range []string{"b", "c", "d"} {
				w.do(&state.AdmitReplica{Replica: replicaOf("us-west", name, "west-1")})
			}
			w.gossip.dead[test.dead] = true
			if test.leaving != "" {
				w.do(&state.RemoveReplica{Name: test.leaving, DiskID: replicaOf("us-west", test.leaving, "west-1").DiskID, Reason: "left"})
			}
			w.server.Raft = voting{w.node, test.voters}
			ctx, stop := context.WithCancel(w.as())
			defer stop()
			w.server.Proposer = &proposed{w, func() error { stop(); return nil }} // nobody waits for the end
			_, err := w.server.Leave(ctx, &pb.LeaveRequest{Force: true})
			if err != nil || w.left != 1 || len(w.marked) != 0 {
				t.Errorf("found %v, left %d times, marked %d times", err, w.left, len(w.marked))
			}
		})
	}
}

func TestARemovalWhoseAnswerIsLostHasLeftAtTheNextTry(t *testing.T) {
	w := newWorld(t)
	w.do(&state.AdmitReplica{Replica: replicaOf("us-west", "b", "west-1")})
	w.server.Raft = voting{w.node, []string{"b"}}
	lost := fmt.Errorf("the region did not take the command in time: %w", context.DeadlineExceeded)
	w.server.Proposer = &proposed{w, func() (err error) { err, lost = lost, nil; return err }}
	if _, err := w.server.Leave(w.as(), &pb.LeaveRequest{Name: "a"}); err == nil || w.left != 0 {
		t.Fatalf("expected the answer to be lost, found %v, left %d times", err, w.left)
	}
	r, err := w.server.Leave(w.as(), &pb.LeaveRequest{Name: "a"})
	if err != nil || w.left != 1 || len(w.marked) != 1 || strings.Join(r.GetVoters(), " ") != "b" {
		t.Errorf("found %v, %v, left %d times, marked %d times", r, err, w.left, len(w.marked))
	}
}

// A replica that was just admitted does not find itself before it has heard of it, and
// has not left for that.
func TestAReplicaThatDoesNotFindItselfHasNotLeftUnlessItWasToLeave(t *testing.T) {
	w := newWorld(t)
	w.do(&state.AdmitReplica{Replica: replicaOf("us-west", "b", "west-1")})
	w.do(&state.RemoveReplica{Name: "a"})
	for _, request := range []*pb.LeaveRequest{{}, {Name: "a", Force: true}} {
		_, err := w.server.Leave(w.as(), request)
		wants(t, err, codes.NotFound, "NOT_FOUND")
	}
	if w.left != 0 || len(w.marked) != 0 {
		t.Errorf("left %d times, marked %d times", w.left, len(w.marked))
	}
}
