package intents

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube/api/v1alpha1"
)

// maxNotice bounds the message of an Event, in bytes, as the API does.
const maxNotice = 1000

// Notice is what is told of an object, as an Event on it: that something has become
// of it. It goes with the write of the status that says so, and so is told once, by
// whichever replica writes.
type Notice struct {
	Warning bool
	// Reason is one word in CamelCase, Message a sentence.
	Reason, Message string
}

// policyNotice is what is to be told when a policy's status becomes the next one:
// that it is in force, behind another, or refused.
func policyNotice(old, next *v1alpha1.ResolutionPolicy) (Notice, bool) {
	now, changed := turned(v1alpha1.PolicyReady, old.Status.Conditions, next.Status.Conditions)
	if !changed || now.Reason == v1alpha1.ReasonPending {
		return Notice{}, false
	}
	n := Notice{Warning: now.Status != metav1.ConditionTrue, Reason: now.Reason, Message: shorten(now.Message, maxNotice)}
	if conflict := meta.FindStatusCondition(next.Status.Conditions, v1alpha1.PolicyConflict); conflict != nil && conflict.Status == metav1.ConditionTrue {
		n.Reason = v1alpha1.PolicyConflict
	}
	return n, true
}

// The reasons of what is told of drills, besides those of the condition Started for
// one that never begins.
const (
	DrillStarted = "DrillStarted"
	DrillEnded   = "DrillEnded"
	DrillRefused = "DrillRefused" // by the vote of the regions
)

// drillNotice is what is to be told when a drill's status becomes the next one: that
// it began, how it ended, or why it never begins.
func drillNotice(old, next *v1alpha1.Drill) (Notice, bool) {
	s, was := &next.Status, &old.Status
	started := meta.FindStatusCondition(s.Conditions, v1alpha1.DrillStarted)
	switch {
	case s.Phase == v1alpha1.PhaseOver && s.Outcome != "" && was.Outcome == "":
		return ending(s, started), true
	case started != nil && started.Status == metav1.ConditionTrue && !meta.IsStatusConditionTrue(was.Conditions, v1alpha1.DrillStarted):
		return Notice{Reason: DrillStarted, Message: shorten(fmt.Sprintf("drill %s takes %s away from %s: %s", s.ID, next.Spec.Service, place(&next.Spec.Scope), cmp.Or(next.Spec.Reason, "no reason given")), maxNotice)}, true
	}
	return Notice{}, false
}

// ending is what is told of a drill that is over, or never began.
func ending(s *v1alpha1.DrillStatus, started *metav1.Condition) Notice {
	never := []string{v1alpha1.ReasonUnsafe, v1alpha1.ReasonTaken, v1alpha1.ReasonExportRules, v1alpha1.ReasonMissed, v1alpha1.ReasonInvalid}
	if started != nil && slices.Contains(never, started.Reason) {
		return Notice{true, started.Reason, shorten("it does not begin: "+s.Detail, maxNotice)}
	}
	outcome := catalog.DrillOutcome(s.Outcome)
	n := Notice{outcome != catalog.OutcomeSucceeded && outcome != catalog.OutcomeStopped, DrillEnded, "it is over: " + s.Outcome}
	if outcome == catalog.OutcomeRefused {
		n.Reason = DrillRefused
	}
	if s.Detail != "" {
		n.Message += ", " + s.Detail
	}
	n.Message = shorten(n.Message, maxNotice)
	return n
}

func place(s *v1alpha1.DrillScope) string {
	switch {
	case s.Zone != "":
		return fmt.Sprintf("zone %s of region %s", s.Zone, s.Region)
	case s.Cluster != "":
		return fmt.Sprintf("cluster %s of region %s", s.Cluster, s.Region)
	}
	return fmt.Sprintf("region %s", s.Region)
}

// turned returns a condition as it is now, nil if there is none, and whether its
// status or reason has changed.
func turned(kind string, old, now []metav1.Condition) (*metav1.Condition, bool) {
	before, after := meta.FindStatusCondition(old, kind), meta.FindStatusCondition(now, kind)
	return after, after != nil && (before == nil || before.Status != after.Status || before.Reason != after.Reason)
}
