package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/still"
)

// apply writes a policy for a service of that name, over the CLI of a replica.
func apply(f *fleet.Fleet, r *fleet.Replica, name string, order ...string) fleet.Result {
	document := fmt.Sprintf("kind: Policy\nname: %s\nspec: {regionOrder: [%s]}\n", name, joined(order))
	return f.Pipe(document, "policy", "apply", "-f", "-", "--socket", r.Sock, "--timeout", "5s")
}

func joined(words []string) string {
	text := ""
	for i, w := range words {
		if i > 0 {
			text += ", "
		}
		text += w
	}
	return text
}

// policies are the names of those that a replica lists.
func policies(r *fleet.Replica) ([]string, error) {
	var list pb.ListPoliciesResponse
	if err := r.Ask(&list, "policy", "list"); err != nil {
		return nil, err
	}
	var names []string
	for _, p := range list.GetPolicies() {
		names = append(names, p.GetName())
	}
	return names, nil
}

func policiesAre(r *fleet.Replica, want ...string) error {
	found, err := policies(r)
	if err == nil && !slices.Equal(found, want) {
		err = fmt.Errorf("%s: expected the policies %v, found %v", r, want, found)
	}
	return err
}

func without(all []*fleet.Replica, gone ...*fleet.Replica) []*fleet.Replica {
	return slices.DeleteFunc(slices.Clone(all), func(r *fleet.Replica) bool { return slices.Contains(gone, r) })
}

func TestKillingALeaderFailsNoLookupAndDelaysWritesByLessThanTwoSeconds(t *testing.T) {
	f := newFleet(t)
	endpoints := f.Endpoints(2)
	f.Serve("west", fleet.ServicesFile(checkout, endpoints...))
	f.Grow(3, "west")
	machine := still.Begin(nil)
	defer machine.End()
	const bound, most = 2 * time.Second, 3
	for play := 1; ; play++ {
		machine.Longest()
		took := writesBack(f, fmt.Sprintf("shop/play-%d", play), endpoints)
		stood := machine.Longest()
		if took <= bound {
			return
		}
		if stood == 0 || play == most {
			t.Fatalf("expected writes to be back within %v, found %v", bound, took)
		}
		t.Logf("this test stood still for %v meanwhile, as the replicas may have: once more", stood)
	}
}

// writesBack kills the leader of west under lookups, and returns how long it took
// until a write of a policy succeeded. The leader is back then.
func writesBack(f *fleet.Fleet, policy string, endpoints []*fleet.Endpoint) time.Duration {
	f.Helper()
	leader := f.Voters("west")
	others := without(f.Replicas("west"), leader)
	f.AnswersAll(10*time.Second, others, checkout, "west", endpoints...)
	known := func(r *fleet.Replica) func() error {
		return func() error {
			found, err := policies(r)
			if err == nil && !slices.Contains(found, policy) {
				err = fmt.Errorf("%s: expected the policy %s, found %v", r, policy, found)
			}
			return err
		}
	}
	stop := f.Watch(fleet.ServiceName(checkout), others...)
	began := time.Now()
	leader.Kill()
	f.Until(10*time.Second, "a write to succeed again", func() error {
		return others[0].Call(func(ctx context.Context, agent pb.OperatorClient) error {
			_, err := agent.ApplyPolicy(ctx, &pb.ApplyPolicyRequest{Name: policy, Spec: []byte(`{"regionOrder":["west"]}`)})
			return err
		})
	})
	took := time.Since(began)
	f.Until(5*time.Second, "the write to be seen at the other replica", known(others[1]))
	f.Logf("writes were back %v after the leader was killed; %d lookups meanwhile", took.Round(time.Millisecond), stop())
	leader.Start()
	leader.Ready()
	f.Until(10*time.Second, "the old leader to know what it missed", known(leader))
	return took
}

func TestNothingAcknowledgedIsLostWhenOneAMajorityOrAllReplicasCrash(t *testing.T) {
	f := newFleet(t)
	endpoints := f.Endpoints(1)
	f.Serve("west", fleet.ServicesFile(checkout, endpoints...))
	f.Grow(3, "west")
	f.Voters("west")
	all := f.Replicas("west")
	var wrote, tokens []string
	for round, crash := range [][]*fleet.Replica{all[:1], all[1:], all} {
		for i, r := range all { // any replica takes a write
			name := fmt.Sprintf("shop/round-%d-%d", round, i)
			apply(f, r, name, "west").OK(t)
			wrote = append(wrote, name)
			tokens = append(tokens, r.Token())
		}
		for _, r := range crash {
			r.Kill()
		}
		for _, r := range crash {
			r.Start()
		}
		for _, r := range all {
			r.Ready()
			f.Until(15*time.Second, r.String()+" to hold every policy", func() error { return policiesAre(r, wrote...) })
			f.Until(15*time.Second, r.String()+" to hold every token", func() error {
				var list pb.ListTokensResponse
				err := r.Ask(&list, "token", "list")
				if err == nil && len(list.GetTokens()) != 2+len(tokens) { // two let replicas in
					err = fmt.Errorf("expected %d tokens, found %d", 2+len(tokens), len(list.GetTokens()))
				}
				return err
			})
		}
		f.AnswersAll(10*time.Second, all, checkout, "west", endpoints...)
	}
	late := f.Place("west", "west-3")
	late.Join(tokens[0]).OK(t)
	late.Start()
	late.Ready()
	f.Until(10*time.Second, "a late replica to know everything", func() error { return policiesAre(late, wrote...) })
	f.AnswersAll(10*time.Second, []*fleet.Replica{late}, checkout, "west", endpoints...)
}
