package pod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Member is a replica of the own region and cluster.
type Member struct {
	Name string
	// Alive: it may be running, as far as is known.
	Alive bool
}

// Membership is the region, as the inviter needs it.
type Membership interface {
	// Members lists the replicas of the own region and cluster.
	Members(ctx context.Context) ([]Member, error)
	// Invite makes a token for a replica of the own region and cluster.
	Invite(ctx context.Context, pod string) (token string, expires time.Time, err error)
	// Remove takes a replica out for good. It fails rather than leave the region
	// without a quorum.
	Remove(ctx context.Context, name string) error
}

// Inviter makes members of the pods of a StatefulSet, and takes out those that are
// gone for good. Every replica of the cluster runs one; the living member of the
// lowest ordinal acts. Two that act at the same time do no harm: of two tokens for a
// pod one reaches the Secret, and the other lapses.
type Inviter struct {
	Core       kubernetes.Interface
	Self       Self
	Membership Membership
	Log        *slog.Logger
	// Now is the clock.
	Now func() time.Time
	// Every is the pause between two looks. 0 means 5 s.
	Every time.Duration
	// Patience is how long a member must have been silent before it is taken out. 0
	// means a minute.
	Patience time.Duration

	silent map[string]time.Time // since when members are not alive
}

// standardPatience is the default of [Inviter.Patience].
const standardPatience = time.Minute

// Run keeps the members of the cluster and the pods of its StatefulSet in step until
// ctx ends.
func (i *Inviter) Run(ctx context.Context) error {
	pod := Pod{Every: i.Every}
	if pod.Every == 0 {
		pod.Every = 5 * time.Second
	}
	last := ""
	for pod.pause(ctx) == nil {
		err := i.once(ctx)
		if said := fmt.Sprint(err); err != nil && said != last && ctx.Err() == nil {
			i.Log.Warn("could not keep the pods and the members in step; trying again", "error", err)
			last = said
		} else if err == nil {
			last = ""
		}
	}
	return nil
}

// once looks and acts.
func (i *Inviter) once(ctx context.Context) error {
	members, err := i.Membership.Members(ctx)
	if err != nil {
		return fmt.Errorf("members: %w", err)
	}
	i.note(members)
	set, _, err := i.Self.Ordinal()
	if err != nil || acting(set, members) != i.Self.Name {
		return err
	}
	s := seen{set: set, members: members, now: i.Now(), silent: i.silent, patience: cmp.Or(i.Patience, standardPatience)}
	if s.replicas, err = replicasOf(ctx, i.Core, i.Self.Namespace, set); err != nil {
		return err
	}
	if s.waiting, err = i.waiting(ctx, set); err != nil {
		return err
	}
	var errs []error
	for _, step := range plan(s) {
		errs = append(errs, i.do(ctx, step))
	}
	return errors.Join(errs...)
}

// note keeps since when members are silent.
func (i *Inviter) note(members []Member) {
	silent := map[string]time.Time{}
	for _, m := range members {
		if m.Alive {
			continue
		}
		silent[m.Name] = i.Now()
		if since, ok := i.silent[m.Name]; ok {
			silent[m.Name] = since
		}
	}
	i.silent = silent
}

// waiting lists the pods of the set that wait for a token.
func (i *Inviter) waiting(ctx context.Context, set string) ([]waiter, error) {
	list, err := i.Core.CoreV1().ConfigMaps(i.Self.Namespace).List(ctx, metav1.ListOptions{LabelSelector: WaitingLabel})
	if err != nil {
		return nil, fmt.Errorf("pods that wait for a token: %w", err)
	}
	var out []waiter
	for _, c := range list.Items {
		of, ordinal, err := ordinalOf(c.Data["pod"])
		if err != nil || of != set || c.Name != WaitingName(c.Data["pod"]) || len(c.OwnerReferences) != 1 {
			continue // not one that a pod wrote
		}
		w := waiter{pod: c.Data["pod"], uid: string(c.OwnerReferences[0].UID), ordinal: ordinal}
		secret, err := i.Core.CoreV1().Secrets(i.Self.Namespace).Get(ctx, JoinSecret(w.pod), metav1.GetOptions{})
		switch {
		case err == nil:
			w.secret = string(secret.UID)
			w.invited = true
			w.expires, _ = time.Parse(time.RFC3339, secret.Annotations[ExpiresAnnotation]) // zero: not ours
		case !apierrors.IsNotFound(err):
			return nil, fmt.Errorf("the Secret %s: %w", JoinSecret(w.pod), err)
		}
		out = append(out, w)
	}
	return out, nil
}

// do takes one step.
func (i *Inviter) do(ctx context.Context, s step) error {
	switch s.what {
	case remove:
		i.Log.Info("taking a replica out of the region", "member", s.pod, "why", s.why)
		if err := i.Membership.Remove(ctx, s.pod); err != nil {
			return fmt.Errorf("take %s out, %s: %w", s.pod, s.why, err)
		}
		return nil
	case withdraw:
		only := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(s.secret)}
		err := i.Core.CoreV1().Secrets(i.Self.Namespace).Delete(ctx, JoinSecret(s.pod), only)
		return gone("Secret", JoinSecret(s.pod), err)
	}
	token, expires, err := i.Membership.Invite(ctx, s.pod)
	if err != nil {
		return fmt.Errorf("token for %s: %w", s.pod, err)
	}
	_, err = i.Core.CoreV1().Secrets(i.Self.Namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: JoinSecret(s.pod), OwnerReferences: []metav1.OwnerReference{ownedBy(s.pod, s.uid)},
			Annotations: map[string]string{ExpiresAnnotation: expires.UTC().Format(time.RFC3339)},
		},
		Data: map[string][]byte{TokenKey: []byte(token)},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("the Secret %s: %w", JoinSecret(s.pod), err)
	}
	i.Log.Info("invited a pod", "member", s.pod, "secret", JoinSecret(s.pod))
	return nil
}

// replicasOf is how many pods a StatefulSet is to have; -1 if there is none, or it
// is being deleted.
func replicasOf(ctx context.Context, core kubernetes.Interface, namespace, set string) (int, error) {
	s, err := core.AppsV1().StatefulSets(namespace).Get(ctx, set, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || err == nil && s.DeletionTimestamp != nil:
		return -1, nil
	case err != nil:
		return -1, fmt.Errorf("StatefulSet %s: %w", set, err)
	case s.Spec.Replicas == nil:
		return 1, nil // the default of Kubernetes
	}
	return int(*s.Spec.Replicas), nil
}

// acting is the member that acts for the pods of a set: the living one of the lowest
// ordinal; "" if there is none.
func acting(set string, members []Member) string {
	first, lowest := "", 0
	for _, m := range members {
		of, ordinal, err := ordinalOf(m.Name)
		if m.Alive && err == nil && of == set && (first == "" || ordinal < lowest) {
			first, lowest = m.Name, ordinal
		}
	}
	return first
}

// seen is what is known when it is decided what to do.
type seen struct {
	set      string
	replicas int // -1: unknown
	waiting  []waiter
	members  []Member
	now      time.Time
	patience time.Duration
	silent   map[string]time.Time
}

// waiter is a pod that waits for a token.
type waiter struct {
	pod, uid string
	ordinal  int
	// invited: its Secret is there, which has the uid secret; expires is when, if
	// that was an inviter's.
	invited bool
	secret  string
	expires time.Time
}

// step is something to do about a pod.
type step struct {
	what   action
	pod    string
	uid    string
	secret string
	why    string
}

type action int

const (
	invite action = iota
	withdraw
	remove
)

// plan decides what to do.
//
//   - A pod that waits and is no member gets a token, and a new one when that has
//     expired.
//   - A pod that waits and is a member has lost its disk: the member that it was is
//     taken out first, if nobody has heard of it for a while.
//   - A member whose ordinal the StatefulSet is not to have any more is taken out, if
//     nobody has heard of it for a while: it left by itself as it ended, unless it
//     could not. None at all is a pause.
//
// One member a time is taken out: the voters are chosen anew in between.
func plan(s seen) []step {
	var steps []step
	removing := false
	takeOut := func(name, why string) {
		if since, ok := s.silent[name]; ok && s.now.Sub(since) >= s.patience && !removing {
			steps, removing = append(steps, step{what: remove, pod: name, why: why}), true
		}
	}
	for _, w := range s.waiting {
		wanted := s.replicas < 0 || w.ordinal < s.replicas
		switch member := slices.ContainsFunc(s.members, func(m Member) bool { return m.Name == w.pod }); {
		case member:
			takeOut(w.pod, "its pod has an empty disk and waits to join anew")
		case !wanted:
		case !w.invited:
			steps = append(steps, step{what: invite, pod: w.pod, uid: w.uid})
		case !w.expires.IsZero() && !s.now.Before(w.expires):
			steps = append(steps, step{what: withdraw, pod: w.pod, secret: w.secret})
		}
	}
	for _, m := range s.members {
		of, ordinal, err := ordinalOf(m.Name)
		if err == nil && of == s.set && s.replicas > 0 && ordinal >= s.replicas {
			takeOut(m.Name, fmt.Sprintf("StatefulSet %s is to have %d pods", s.set, s.replicas))
		}
	}
	return steps
}
