package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
)

// TestUpgrades builds the three programs once, for all that is tested with them.
func TestUpgrades(t *testing.T) {
	if os.Getenv("FEDERATOR_LAB") == "" {
		t.Skip("builds two more programs and takes a minute; set FEDERATOR_LAB=1")
	}
	b := build(t)
	t.Run("regions roll forward and back under load", b.rollForwardAndBack)
	t.Run("a newer command waits for the last replica and then bars the way back", b.newerCommand)
	t.Run("an old region carries objects of kinds that it does not know", b.newerKinds)
}

// rollForwardAndBack takes a region of three and one of one from the old build to
// the current one and back, so that builds are mixed within a region, and between
// them in both directions.
func (b builds) rollForwardAndBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, b.old)
	now := protocolOf(t, root)
	west, east := w.fleet.Replicas("west"), w.fleet.Replicas("east")[0]

	w.rollRegion(b.current)
	w.agree("the new west and the old east")
	w.runsAt(west, now)
	w.roll(east, b.current)
	w.agree("both new")

	// What the new build wrote last is its snapshots, which the old one reads then.
	w.snapshots()
	w.roll(west[0], b.current)
	w.rollRegion(b.old)
	w.agree("the old west and the new east")
	w.runsAt(west, b.protocol)
	w.roll(east, b.old)
	w.agree("both old again")
	w.finish()
}

// newerCommand has a region use a command that the old build does not know.
func (b builds) newerCommand(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, b.old)
	endpoints := f.Endpoints(1)
	f.Serve("west", fleet.ServicesFile(checkout, endpoints...))
	f.Grow(3, "west")
	last := f.Voters("west")
	first := slices.DeleteFunc(f.Replicas("west"), func(r *fleet.Replica) bool { return r == last })

	refused := func(words ...string) {
		t.Helper()
		for _, r := range first {
			f.Until(patience, r.String()+" to refuse what not all understand", func() error {
				return says(r.CLI("token", "create"), words...)
			})
		}
	}
	for _, r := range first {
		replace(f, r, b.next)
	}
	// The leader is an old replica, which does not know the command.
	b.leads(t, f, first, last)
	refused(fmt.Sprintf("needs protocol %d", b.nextProtocol), "upgrade")
	// The leader is a new one, and the old one is registered, though it is down.
	last.Stop()
	refused(fmt.Sprintf("needs protocol %d", b.nextProtocol), "oldest replica", "upgrade it first")

	last.StartWith(b.next)
	last.Ready()
	f.Until(patience, "the command to be accepted once all understand it", func() error {
		return succeeds(first[0].CLI("token", "create"))
	})
	f.Voters("west")
	b.barred(t, f, first, last, endpoints)
}

// leads has the last replica lead again if another one was elected while one was
// down, as happens on a busy machine.
func (b builds) leads(t *testing.T, f *fleet.Fleet, first []*fleet.Replica, last *fleet.Replica) {
	t.Helper()
	for try := range 5 {
		leader := f.Voters("west")
		if leader == last {
			return
		}
		other := slices.DeleteFunc(slices.Clone(first), func(r *fleet.Replica) bool { return r == leader })[0]
		// Behind the others, this one can neither be handed the lead nor win it.
		other.Stop()
		f.Until(patience, leader.String()+" to take a write", func() error { return putPolicy(leader, fmt.Sprintf("shop/ahead-%d", try)) })
		leader.Stop()
		for _, r := range []*fleet.Replica{other, leader} {
			r.StartWith(b.next)
			r.Ready()
			f.Until(patience, r.String()+" to take part again", func() error { return takesPart(r, f.Replicas("west")) })
		}
	}
	t.Fatalf("expected %s to lead, found %s", last, f.Voters("west"))
}

// barred takes a replica back to the old build after a newer command: that
// replica halts and says what to do, and the others go on.
func (b builds) barred(t *testing.T, f *fleet.Fleet, others []*fleet.Replica, back *fleet.Replica, endpoints []*fleet.Endpoint) {
	stop := f.Watch(fleet.ServiceName(checkout), others...)
	back.Stop()
	back.StartWith(b.old)
	f.Until(patience, back.String()+" to halt and to say what to do", func() error {
		s, err := back.Status()
		if err != nil {
			return err
		}
		return contains(s.GetRaft().GetHalted(), "halted", "upgrade this replica")
	})
	f.Until(patience, "check to find it", func() error {
		problems, err := back.Problems()
		if err == nil && problems["raft-halted"].GetAction() == "" {
			err = fmt.Errorf("found %v", problems)
		}
		return err
	})
	for _, r := range others {
		succeedsWithin(f, r, "token", "create")
		f.Until(patience, r.String()+" to take a write", func() error { return putPolicy(r, "shop/"+r.Name) })
	}
	f.AnswersAll(patience, others, checkout, "west", endpoints...)

	b.excluded(t, f, others[0])

	back.Stop()
	back.StartWith(b.next) // which is what it said
	back.Ready()
	f.Until(patience, back.String()+" to go on where it halted", func() error { return takesPart(back, others) })
	t.Logf("%d lookups meanwhile", stop())
}

// excluded has a replica of the old build try to join after a newer command: it may
// not. While there is no leader it is refused for other reasons.
func (b builds) excluded(t *testing.T, f *fleet.Fleet, issuer *fleet.Replica) {
	t.Helper()
	stranger := f.Place("west", "west-9")
	f.Until(patience, stranger.String()+" to be refused for its protocol", func() error {
		token := issuer.CLI("token", "create")
		if err := succeeds(token); err != nil {
			return err
		}
		joined := stranger.Join(strings.TrimSpace(token.Out))
		if joined.Code == 0 {
			t.Fatalf("expected %s, which does not understand protocol %d, not to join, and it did", stranger, b.nextProtocol)
		}
		if joined.Code != 1 {
			return fmt.Errorf("expected exit code 1, found %d: %s", joined.Code, joined.Err)
		}
		return says(joined, fmt.Sprintf("has %d in force", b.nextProtocol))
	})
}

// newerKinds has a region of the next build write objects that a region of the
// old build has never heard of.
func (b builds) newerKinds(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, b.old)
	endpoints := f.Endpoints(1)
	f.Serve("west", fleet.ServicesFile(checkout, endpoints...))
	f.Grow(1, "north", "west")
	north, west := f.Replicas("north")[0], f.Replicas("west")[0]
	replace(f, north, b.next)
	for _, kind := range newKinds() {
		f.Until(patience, "north to write an object of kind "+kind, func() error { return putPolicy(north, kind+"/x") })
	}
	carried := func(file string) {
		t.Helper()
		f.Until(patience, "west to hold the objects in its own state", func() error {
			return holds(west, f.Dir+"/"+file, newKinds())
		})
	}
	carried("before")
	west.Stop() // its log and its cache hold them, too
	west.Start()
	west.Ready()
	carried("after")

	for from, to := range map[*fleet.Replica]*fleet.Replica{north: west, west: north} {
		name := "shop/" + from.Name
		f.Until(patience, from.String()+" to write", func() error { return putPolicy(from, name) })
		f.Until(patience, to.String()+" to have "+name, func() error { return hasPolicies(to, name) })
		f.Until(patience, to.String()+" to follow "+from.Region, func() error { return follows(to, from.Region) })
		f.Until(patience, to.String()+" to be content", func() error { return content(to) })
	}
	f.AnswersAll(patience, f.Replicas(""), checkout, "west", endpoints...)
}

// replace puts another build in the place of a replica's.
func replace(f *fleet.Fleet, r *fleet.Replica, binary string) {
	f.Helper()
	r.Stop()
	r.StartWith(binary)
	r.Ready()
	f.Until(patience, r.String()+" to take part again", func() error { return takesPart(r, f.Replicas(r.Region)) })
}

// takesPart checks that a replica votes and has applied what its region had
// committed.
func takesPart(r *fleet.Replica, region []*fleet.Replica) error {
	s, err := r.Status()
	if err != nil {
		return err
	}
	raft := s.GetRaft()
	if (raft.GetState() != "follower" && raft.GetState() != "leader") || !slices.Contains(raft.GetVoters(), r.Name) {
		return fmt.Errorf("%s is a %s, the voters are %v", r, raft.GetState(), raft.GetVoters())
	}
	for _, other := range region {
		if other == r || !other.Running() {
			continue
		}
		s, err := other.Status()
		if err != nil {
			return err
		}
		// Under load the others are ahead by what was committed between the two
		// questions: ask as long as it takes to see it level once.
		if theirs := s.GetRaft().GetAppliedIndex(); raft.GetAppliedIndex()+levelWithin < theirs {
			return fmt.Errorf("%s has applied %d, %s %d", r, raft.GetAppliedIndex(), other, theirs)
		}
	}
	return nil
}

// levelWithin is how many commands a replica may seem behind another that was
// asked a moment later.
const levelWithin = 50

func call(r *fleet.Replica, ask func(context.Context, pb.OperatorClient) error) error {
	if err := r.Call(ask); err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	return nil
}

func putPolicy(r *fleet.Replica, name string) error {
	return call(r, func(ctx context.Context, c pb.OperatorClient) error {
		_, err := c.ApplyPolicy(ctx, &pb.ApplyPolicyRequest{Name: name, Spec: []byte(`{"regionOrder":["west"]}`)})
		return err
	})
}

// succeedsWithin runs a command until it succeeds.
func succeedsWithin(f *fleet.Fleet, r *fleet.Replica, args ...string) {
	f.Helper()
	f.Until(patience, fmt.Sprintf("%s to run %v", r, args), func() error { return succeeds(r.CLI(args...)) })
}

func succeeds(r fleet.Result) error {
	if r.Code != 0 {
		return errors.New(r.Err)
	}
	return nil
}
