package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/token"
	"github.com/federator/federator/test/e2e/fleet"
)

func TestReplicasJoinByTokensOfAnyRegion(t *testing.T) {
	f := quickFleet(t)
	west := f.Init("west")
	east := f.Join(west, "east", "east-0")

	fromFile := f.Place("west", "west-1")
	fromFile.Join(f.Write("token", west.Token())).OK(t)
	fromFile.Start()
	fromFile.Ready()

	fromInput := f.Place("west", "west-2")
	text := east.Token()
	f.Pipe(text+"\n", append([]string{"join", "-"}, fromInput.Placing()...)...).OK(t)
	fromInput.Start()
	fromInput.Ready()

	f.Join(east, "south", "south-0")
	for _, r := range f.Replicas("") {
		f.Until(10*time.Second, r.String()+" to know every member", func() error {
			return membersAre(r, "east/east-0", "south/south-0", "west/west-0", "west/west-1", "west/west-2")
		})
	}
}

func membersAre(r *fleet.Replica, want ...string) error {
	found, err := r.Members("")
	if err == nil && !slices.Equal(found, want) {
		err = fmt.Errorf("expected the members %v, found %v", want, found)
	}
	return err
}

// forge changes what a token says; its checksum is made anew.
func forge(t *testing.T, text string, change func(*token.Token)) string {
	t.Helper()
	tok, err := token.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	change(&tok)
	if text, err = tok.Encode(); err != nil {
		t.Fatal(err)
	}
	return text
}

func TestEveryBadTokenHasItsOwnErrorAndChangesNothing(t *testing.T) {
	f := newFleet(t)
	west := f.Init("west")
	f.Join(west, "east", "east-0")
	f.Until(10*time.Second, "west to know east", func() error { return membersAre(west, "east/east-0", "west/west-0") })
	stranger := fleet.New(t, f.Binary()).Init("west")

	good := west.Token()
	used := west.Token()
	f.Place("west", "west-1").Join(used).OK(t)
	f.Until(10*time.Second, "west to know west-1", func() error { return membersAre(west, "east/east-0", "west/west-0", "west/west-1") })
	silent := f.Address() + ":7443"
	pinned := strings.TrimSpace(west.CLI("token", "create", "--region", "west", "--cluster", "west-2").OK(t).Out)

	type place struct{ region, cluster, name string }
	here := place{"west", "west-1", "west-9"}
	for _, tt := range []struct {
		name  string
		token string
		place place
		code  int
		says  []string
	}{
		{"of another trust domain", forge(t, stranger.Token(), func(k *token.Token) { k.Addresses = []string{west.Peer} }), here, 1,
			[]string{"could not prove", "nothing secret was sent", west.Peer}},
		{"with a pin of another trust domain", forge(t, good, func(k *token.Token) { k.Pins = []token.Pin{{1, 2, 3}} }), here, 1,
			[]string{"could not prove", "nothing secret was sent"}},
		{"reused", used, here, 1, []string{"used already by another replica", "federator token create"}},
		{"unknown", forge(t, good, func(k *token.Token) { k.ID = "0123456789abcdef" }), here, 1, []string{"does not know this token"}},
		{"with another secret", forge(t, good, func(k *token.Token) { k.Secret[0] ^= 1 }), here, 1, []string{"does not know this token"}},
		{"truncated", good[:len(good)/2], here, 1, []string{"cut short", "whole line"}},
		{"changed", good[:len(good)-1] + "!", here, 1, []string{"changed on its way"}},
		{"garbage", "let-me-in", here, 1, []string{"not a join token", token.Prefix}},
		{"for a name that is taken", good, place{"west", "west-1", "west-0"}, 1, []string{"the name is taken", "west-0", "--name"}},
		{"for a cluster of another region", good, place{"west", "east-1", "west-9"}, 1, []string{"belongs to", "east", "--cluster"}},
		{"for a new region with a cluster of another", good, place{"north", "east-1", "north-0"}, 1, []string{"belongs to", "east", "--cluster"}},
		{"restricted to another cluster", pinned, here, 1, []string{"does not allow", "west-2"}},
		{"restricted to another region", pinned, place{"north", "west-2", "north-0"}, 1, []string{"does not allow", "west"}},
		{"to where nobody listens", forge(t, good, func(k *token.Token) { k.Addresses = []string{silent} }), here, 1,
			[]string{"cannot be reached", silent}},
		{"to something else that listens", forge(t, good, func(k *token.Token) { k.Addresses = []string{west.HTTP} }), here, 1,
			[]string{west.HTTP}},
	} {
		t.Run("a token "+tt.name, func(t *testing.T) {
			r := f.Place(tt.place.region, tt.place.name)
			r.Cluster = tt.place.cluster
			joined := r.Join(tt.token).Fails(t, tt.code, tt.says...)
			if strings.Contains(joined.Err+joined.Out, tt.token) {
				t.Error("the error repeats the token")
			}
			if strings.Count(joined.Err, "federator: ") != 1 {
				t.Errorf("expected one error, found %q", joined.Err)
			}
			if err := membersAre(west, "east/east-0", "west/west-0", "west/west-1"); err != nil {
				t.Error(err)
			}
			if s, err := west.RegionStatus("north"); err == nil {
				t.Errorf("the refused region is known: %v", s)
			}
		})
	}
	f.Place("west", "west-8").Join(good).OK(t) // no refusal has used it up
}

func TestAnExpiredTokenIsRefused(t *testing.T) {
	f := slowFleet(t)
	west := f.Init("west")
	text := strings.TrimSpace(west.CLI("token", "create", "--ttl", "1m").OK(t).Out)
	tok, err := token.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(tok.Expires) + time.Second)
	f.Place("west", "west-1").Join(text).Fails(t, 1, "has expired", "federator token create")
	if err := membersAre(west, "west/west-0"); err != nil {
		t.Error(err)
	}
}

func TestAJoinThatWasKilledCanBeTriedAgain(t *testing.T) {
	f := newFleet(t)
	west := f.Init("west")
	for _, region := range []string{"west", "east"} {
		r := f.Place(region, region+"-1")
		text := west.Token()
		kills := 0
		for delay := time.Millisecond; ; delay += 4 * time.Millisecond {
			result, ended := f.KilledAfter(delay, append([]string{"join", text}, r.Placing()...)...)
			if !ended {
				kills++
				continue
			}
			if !strings.Contains(result.Err, "already holds replica "+r.Name) { // killed after it had joined
				result.OK(t)
			}
			break
		}
		t.Logf("%s joined after %d kills", r, kills)
		r.Start()
		r.Ready()
	}
	f.Until(10*time.Second, "the members to be known", func() error { return membersAre(west, "east/east-1", "west/west-0", "west/west-1") })
}

func TestOfTwoSimultaneousFoundersOneFoundsAndTheOtherIsToldOrJoins(t *testing.T) {
	f := newFleet(t)
	west := f.Init("west")
	founders := []*fleet.Replica{f.Place("east", "east-0"), f.Place("east", "east-1")}
	tokens := []string{west.Token(), west.Token()}
	results := make([]fleet.Result, 2)
	var wg sync.WaitGroup
	for i := range founders {
		wg.Go(func() { results[i] = founders[i].Join(tokens[i]) })
	}
	wg.Wait()
	founded := 0
	for i, r := range founders {
		switch {
		case results[i].Code == 0 && strings.Contains(results[i].Out, "founded"):
			founded++
			r.Start()
			defer r.Ready()
		case results[i].Code == 0:
			r.Start()
			defer r.Ready()
		default:
			results[i].Fails(t, 1, "try again")
			if said := results[i].Err; !strings.Contains(said, "founded this region") && !strings.Contains(said, "region east has to decide") {
				t.Errorf("expected to be told that another founds the region, found %q", said)
			}
		}
	}
	if founded != 1 {
		t.Fatalf("expected exactly one founder, found %d:\n%v", founded, results)
	}
	for i, r := range founders {
		if results[i].Code != 0 {
			f.Until(15*time.Second, "the second founder to join by the same token", func() error {
				if again := r.Join(tokens[i]); again.Code != 0 {
					return fmt.Errorf("join: %s", again.Err)
				}
				return nil
			})
			r.Start()
			r.Ready()
		}
	}
	f.Until(10*time.Second, "both to be members", func() error { return membersAre(west, "east/east-0", "east/east-1", "west/west-0") })
	s, err := founders[0].Status()
	if err != nil || s.GetRaft().GetLeader() == "" {
		t.Errorf("expected one Raft with a leader, found %v, %v", s.GetRaft(), err)
	}
}

func TestATokenIsGoodForOneOfManyWhoTryAtOnce(t *testing.T) {
	f := newFleet(t)
	f.Grow(3, "west")
	issuer := f.Replicas("west")
	text := issuer[0].Token()
	results := make([]fleet.Result, 4)
	var wg sync.WaitGroup
	for i := range results {
		r := f.Place("west", fmt.Sprintf("other-%d", i))
		// Each asks another replica, so that only Raft can decide between them.
		own := forge(t, text, func(k *token.Token) { k.Addresses = []string{issuer[i%3].Peer} })
		wg.Go(func() { results[i] = r.Join(own) })
	}
	wg.Wait()
	joined := 0
	for _, r := range results {
		if r.Code == 0 {
			joined++
			continue
		}
		r.Fails(t, 1, "used already by another replica")
	}
	if joined != 1 {
		t.Errorf("expected one of %d to join, found %d", len(results), joined)
	}
	// What is asked may follow, and hear of the last use a moment later.
	f.Until(10*time.Second, "three tokens that were used by somebody", func() error {
		var list pb.ListTokensResponse
		if err := issuer[1].Ask(&list, "token", "list"); err != nil {
			return err
		}
		unused := func(k *pb.TokenInfo) bool { return k.GetState() != "used" || k.GetUsedBy() == "" }
		if len(list.GetTokens()) != 3 || slices.ContainsFunc(list.GetTokens(), unused) {
			return fmt.Errorf("found %v", &list)
		}
		return nil
	})
}
