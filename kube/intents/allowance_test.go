package intents

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/federator/federator/kube/api/v1alpha1"
)

func TestWhatTheUsersOfANamespaceUseUpOthersStillHave(t *testing.T) {
	a := newAllowance(time.Second, 1000, 10*time.Second, 5)
	now := t0
	take := func(namespace string) (n int) {
		for a.has(namespace, now) {
			a.take(namespace, now)
			n++
		}
		return n
	}
	if n := take("greedy"); n != 5 {
		t.Errorf("expected a burst of 5, found %d", n)
	}
	if n := take("modest"); n != 5 {
		t.Errorf("expected another namespace to have its own burst, found %d", n)
	}
	now = now.Add(30 * time.Second)
	if n := take("greedy"); n != 3 {
		t.Errorf("expected one in ten seconds, found %d in thirty", n)
	}
	for i := range 500 {
		take(fmt.Sprintf("many-%d", i))
	}
	if n := take("last"); n != 0 {
		t.Errorf("expected all together to be bounded, found %d more", n)
	}
	now = now.Add(time.Hour)
	take("last")
	if n := len(a.of); n != 1 {
		t.Errorf("expected nothing to be remembered of namespaces that have all of theirs, found %d", n)
	}
}

func TestEachNamespaceHasItsTurn(t *testing.T) {
	var objects []*v1alpha1.ResolutionPolicy
	for _, of := range []struct {
		namespace string
		n         int
	}{{"a", 5}, {"b", 1}, {"c", 2}} {
		for i := range of.n {
			p := resolution(fmt.Sprintf("p%d", i), "checkout", 0)
			p.Namespace = of.namespace
			objects = append(objects, p)
		}
	}
	for turn, want := range []string{"a0 b0 c0 a1 c1 a2 a3 a4", "b0 c0 a0 c1 a1 a2 a3 a4", "c0 a0 b0 c1 a1 a2 a3 a4", "a0 b0 c0 a1 c1 a2 a3 a4"} {
		var got []string
		for _, p := range inTurn(objects, turn) {
			got = append(got, p.Namespace+strings.TrimPrefix(p.Name, "p"))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("turn %d: expected %s, found %s", turn, want, strings.Join(got, " "))
		}
	}
	if inTurn([]*v1alpha1.ResolutionPolicy{}, 7) != nil {
		t.Error("expected nothing of nothing")
	}
}

func TestANamespaceThatChangesItsPoliciesAllTheTimeIsSlowedDownAndTold(t *testing.T) {
	o := newOffice(t)
	o.create("a")
	ctx := t.Context()
	for i := range changeBurst + 20 {
		o.server.mu.Lock()
		next := o.server.have["a"].DeepCopy()
		next.Generation, next.Spec.OverprovisioningPercent = int64(i+2), int32(100+i)
		o.server.have["a"] = next
		o.server.mu.Unlock()
		o.show()
		o.stepPolicies(ctx)
	}
	if o.federation.puts < changeBurst || o.federation.puts > changeBurst+5 {
		t.Errorf("expected some %d changes to arrive, found %d", changeBurst, o.federation.puts)
	}
	if why := slices.Collect(func(yield func(string) bool) {
		for _, w := range o.stuck {
			yield(w)
		}
	}); len(why) != 1 || !strings.Contains(why[0], "the policies of namespace shop, or of the cluster, change too often: of a namespace one change in 10s") {
		t.Errorf("expected to be told why it waits, found %q", why)
	}
}

func TestARegionThatDoesNotAnswerIsAskedOnceAndNotForEachPolicy(t *testing.T) {
	o := newOffice(t)
	for i := range 5 {
		o.create(fmt.Sprintf("p%d", i))
	}
	o.federation.fails, o.federation.slow = errors.New("no majority"), true
	// On a clock of its own, so that nothing hangs on how long its last second lasts.
	synctest.Test(t, func(t *testing.T) { o.stepPolicies(t.Context()) })
	if o.federation.puts != 1 || len(o.stuck) != 5 || !strings.Contains(o.stuck[o.origin("p4")], "takes no writes now") {
		t.Errorf("expected one attempt, and all five to say why, found %d and %q", o.federation.puts, o.stuck)
	}
}

func TestDrillsBeginInTheOrderOfTheirAge(t *testing.T) {
	old, young := practice("z"), practice("a")
	young.CreationTimestamp.Time = t0.Add(time.Second)
	s := newStage(t, young, old)
	s.step(false)
	var order []types.UID
	for _, start := range s.in.Plan().Starts {
		order = append(order, start.UID)
	}
	if fmt.Sprint(order) != "[z-uid a-uid]" {
		t.Errorf("expected the oldest first, found %v", order)
	}
}
