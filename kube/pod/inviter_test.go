package pod

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func TestWhatIsToBeDoneAboutThePodsOfASet(t *testing.T) {
	alive := func(names ...string) (out []Member) {
		for _, n := range names {
			out = append(out, Member{n, true})
		}
		return out
	}
	w := func(n int) waiter { return waiter{pod: fmt.Sprintf("federator-%d", n), uid: "u", ordinal: n} }
	invited := func(n int, expires time.Time) waiter {
		x := w(n)
		x.invited, x.secret, x.expires = true, "s", expires
		return x
	}
	since := func(names ...string) map[string]time.Time {
		out := map[string]time.Time{}
		for _, n := range names {
			out[n] = noon.Add(-2 * time.Minute)
		}
		return out
	}
	dead := func(names ...string) (out []Member) {
		for _, n := range names {
			out = append(out, Member{n, false})
		}
		return out
	}
	for name, test := range map[string]struct {
		seen seen
		want []step
	}{
		"all are members": {seen{replicas: 3, members: alive("federator-0", "federator-1", "federator-2")}, nil},
		"two wait":        {seen{replicas: 3, waiting: []waiter{w(1), w(2)}, members: alive("federator-0")}, []step{{what: invite, pod: "federator-1", uid: "u"}, {what: invite, pod: "federator-2", uid: "u"}}},
		"one has a token": {seen{replicas: 3, waiting: []waiter{invited(1, noon.Add(time.Second)), w(2)}, members: alive("federator-0")}, []step{{what: invite, pod: "federator-2", uid: "u"}}},
		"its token has expired": {seen{replicas: 3, waiting: []waiter{invited(1, noon)}, members: alive("federator-0")},
			[]step{{what: withdraw, pod: "federator-1", secret: "s"}}},
		"a token of somebody else is left alone": {seen{replicas: 3, waiting: []waiter{invited(1, time.Time{})}, members: alive("federator-0")}, nil},
		"a pod that is being scaled away":        {seen{replicas: 1, waiting: []waiter{w(1)}, members: alive("federator-0")}, nil},
		"how many there are to be is not known":  {seen{replicas: -1, waiting: []waiter{w(1)}, members: append(alive("federator-0"), dead("federator-7")...), silent: since("federator-7")}, []step{{what: invite, pod: "federator-1", uid: "u"}}},
		"a lost disk": {seen{replicas: 3, waiting: []waiter{w(1)}, members: append(alive("federator-0", "federator-2"), dead("federator-1")...), silent: since("federator-1")},
			[]step{{what: remove, pod: "federator-1", why: "its pod has an empty disk and waits to join anew"}}},
		"a lost disk, heard of a moment ago": {seen{replicas: 3, waiting: []waiter{w(1)}, members: append(alive("federator-0"), dead("federator-1")...), silent: map[string]time.Time{"federator-1": noon}}, nil},
		"a lost disk of one that lives":      {seen{replicas: 3, waiting: []waiter{w(1)}, members: alive("federator-0", "federator-1")}, nil},
		"scaled down by two that died": {seen{replicas: 1, members: append(alive("federator-0"), dead("federator-1", "federator-2")...), silent: since("federator-1", "federator-2")},
			[]step{{what: remove, pod: "federator-1", why: "StatefulSet federator is to have 1 pods"}}},
		"scaled to none, and started again": {seen{replicas: 0, members: append(alive("federator-0"), dead("federator-1")...), silent: since("federator-1")}, nil},
		"scaled down, and they are leaving": {seen{replicas: 1, members: alive("federator-0", "federator-1", "federator-2")}, nil},
		"a member that is no pod":           {seen{replicas: 1, members: append(alive("federator-0"), dead("host-7", "other-3")...), silent: since("host-7", "other-3")}, nil},
		"a pod that died and comes back":    {seen{replicas: 3, members: append(alive("federator-0"), dead("federator-1")...), silent: since("federator-1")}, nil},
	} {
		test.seen.set, test.seen.now, test.seen.patience = "federator", noon, time.Minute
		if found := plan(test.seen); !reflect.DeepEqual(found, test.want) {
			t.Errorf("%s: expected %+v, found %+v", name, test.want, found)
		}
	}
}

func TestTheLivingMemberOfTheLowestOrdinalActs(t *testing.T) {
	for _, test := range []struct {
		want    string
		members []Member
	}{
		{"federator-0", []Member{{"federator-10", true}, {"federator-2", true}, {"federator-0", true}}},
		{"federator-2", []Member{{"federator-10", true}, {"federator-2", true}, {"federator-0", false}}},
		{"federator-10", []Member{{"federator-10", true}, {"host", true}, {"other-0", true}}},
		{"", []Member{{"federator-0", false}}},
	} {
		if found := acting("federator", test.members); found != test.want {
			t.Errorf("%v: expected %q, found %q", test.members, test.want, found)
		}
	}
}

// region is a membership that remembers what it was asked.
type region struct {
	members []Member
	tokens  int
	removed []string
	refuses error
}

func (r *region) Members(context.Context) ([]Member, error) { return r.members, nil }

func (r *region) Invite(_ context.Context, pod string) (string, time.Time, error) {
	r.tokens++
	return fmt.Sprintf("token %d for %s", r.tokens, pod), noon.Add(time.Hour), nil
}

func (r *region) Remove(_ context.Context, name string) error {
	if r.refuses == nil {
		r.removed = append(r.removed, name)
	}
	return r.refuses
}

// inviterOf is that of a pod.
func inviterOf(core kubernetes.Interface, pod string, r *region, now *time.Time) *Inviter {
	return &Inviter{Core: core, Self: Self{Name: pod, Namespace: space}, Membership: r, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return *now }}
}

func TestAPodThatWaitsIsInvitedOnceAndAnewWhenItsTokenHasExpired(t *testing.T) {
	ctx, now := t.Context(), noon
	p := podOf("federator-1", setOf(3))
	r := &region{members: []Member{{"federator-0", true}, {"federator-2", true}}}
	first, second := inviterOf(p.Core, "federator-0", r, &now), inviterOf(p.Core, "federator-2", r, &now)
	both := func() {
		t.Helper()
		for _, i := range []*Inviter{second, first, first} {
			if err := i.once(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	token := func() string {
		secret, err := p.Core.CoreV1().Secrets(space).Get(ctx, JoinSecret("federator-1"), metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if len(secret.OwnerReferences) != 1 || secret.OwnerReferences[0].UID != "uid-federator-1" {
			t.Errorf("expected the Secret to go with its pod, found %v", secret.OwnerReferences)
		}
		return string(secret.Data[TokenKey])
	}
	both()
	if r.tokens != 0 {
		t.Fatalf("nobody waits, and %d tokens were made", r.tokens)
	}
	if err := p.Waiting(ctx); err != nil {
		t.Fatal(err)
	}
	both()
	if found := token(); found != "token 1 for federator-1" || r.tokens != 1 {
		t.Fatalf("found %q, %d tokens", found, r.tokens)
	}
	now = now.Add(time.Hour)
	both() // withdrawn and made anew
	if found := token(); found != "token 2 for federator-1" || r.tokens != 2 {
		t.Fatalf("found %q, %d tokens", found, r.tokens)
	}
	if err := p.Settled(ctx); err != nil {
		t.Fatal(err)
	}
	both()
	if r.tokens != 2 {
		t.Errorf("the pod has joined, and %d tokens were made", r.tokens)
	}
}

func TestTheOneThatLosesARaceToInviteLeavesTheOthersToken(t *testing.T) {
	now := noon
	core := fake.NewClientset(&corev1.Secret{ObjectMeta: meta(JoinSecret("federator-1")), Data: map[string][]byte{TokenKey: []byte("other")}})
	i := inviterOf(core, "federator-0", &region{}, &now)
	if err := i.do(t.Context(), step{what: invite, pod: "federator-1"}); err != nil {
		t.Fatal(err)
	}
	secret, err := core.CoreV1().Secrets(space).Get(t.Context(), JoinSecret("federator-1"), metav1.GetOptions{})
	if err != nil || string(secret.Data[TokenKey]) != "other" {
		t.Errorf("found %v, %v", secret, err)
	}
}

func TestAMemberThatIsGoneIsTakenOutAfterAWhileUnlessTheRegionRefuses(t *testing.T) {
	now := noon
	core := fake.NewClientset(setOf(1))
	r := &region{members: []Member{{"federator-0", true}, {"federator-1", false}}, refuses: errors.New("no quorum would be left")}
	i := inviterOf(core, "federator-0", r, &now)
	for _, after := range []time.Duration{0, 59 * time.Second} {
		now = noon.Add(after)
		if err := i.once(t.Context()); err != nil {
			t.Errorf("after %v: %v", after, err)
		}
	}
	now = noon.Add(time.Minute)
	if err := i.once(t.Context()); !errors.Is(err, r.refuses) {
		t.Errorf("expected the region's refusal, found %v", err)
	}
	r.members[1].Alive = true // it was only slow
	if err := i.once(t.Context()); err != nil {
		t.Error(err)
	}
	r.members[1].Alive, r.refuses = false, nil
	if err := i.once(t.Context()); err != nil || len(r.removed) > 0 {
		t.Errorf("expected its time to begin anew, found %v, %v", r.removed, err)
	}
	now = now.Add(time.Minute)
	if err := i.once(t.Context()); err != nil || len(r.removed) != 1 || r.removed[0] != "federator-1" {
		t.Errorf("expected federator-1 to be taken out, found %v, %v", r.removed, err)
	}
}

func TestAConfigMapThatNoPodWroteInvitesNobody(t *testing.T) {
	now := noon
	labels := map[string]string{WaitingLabel: "true"}
	owner := []metav1.OwnerReference{ownedBy("federator-1", "u")}
	core := fake.NewClientset(setOf(3),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: space, Labels: labels, OwnerReferences: owner}, Data: map[string]string{"pod": "federator-1"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: WaitingName("mine-1"), Namespace: space, Labels: labels, OwnerReferences: owner}, Data: map[string]string{"pod": "mine-1"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: WaitingName("federator-2"), Namespace: space, Labels: labels}, Data: map[string]string{"pod": "federator-2"}},
	)
	r := &region{members: []Member{{"federator-0", true}}}
	if err := inviterOf(core, "federator-0", r, &now).once(t.Context()); err != nil || r.tokens > 0 {
		t.Errorf("found %d tokens, %v", r.tokens, err)
	}
}
