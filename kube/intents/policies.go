package intents

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube/api/v1alpha1"
)

// The bounds of what one cluster brings into the federation: of more policies the
// oldest count.
const (
	MaxPolicies             = 1000
	MaxPoliciesPerNamespace = 100
)

// Policies is what is known of the ResolutionPolicies of the own cluster.
type Policies struct {
	// Cluster and Region are the own ones.
	Cluster, Region string
	// Objects are what the API server has. Whole: there are no others.
	Objects []*v1alpha1.ResolutionPolicy
	Whole   bool
	// Written are the federation's objects of kind [catalog.KindClusterPolicy], and
	// Standings what has become of them.
	Written   []*catalog.Object
	Standings []catalog.PolicyStanding
	// Stuck says why the last write of a policy to the federation failed.
	Stuck map[catalog.PolicyOrigin]string
	Now   metav1.Time
}

// PolicyPlan is what is to be written.
type PolicyPlan struct {
	// Puts and Deletes go to the federation, in order of their origins.
	Puts    []PolicyPut
	Deletes []PolicyPut
	// Statuses are objects whose status is to be updated, and Notices what is to be
	// told with that.
	Statuses []*v1alpha1.ResolutionPolicy
	Notices  map[types.UID]Notice
	// Standing counts the objects by the reason of their condition Ready.
	Standing map[string]int
}

// PolicyPut is one write to the federation. Seen is the version that it follows;
// zero if there is none.
type PolicyPut struct {
	Origin catalog.PolicyOrigin
	Policy catalog.ClusterPolicy
	Seen   catalog.ObjectVersion
}

// Plan says what is to be written.
func (in *Policies) Plan() PolicyPlan {
	plan := PolicyPlan{Standing: map[string]int{}, Notices: map[types.UID]Notice{}}
	written := in.ours()
	standings := map[catalog.PolicyOrigin]*catalog.PolicyStanding{}
	for i := range in.Standings {
		standings[in.Standings[i].PolicyOrigin] = &in.Standings[i]
	}
	wanted := map[catalog.PolicyOrigin]bool{}
	beyond := in.beyond()
	for _, p := range in.Objects {
		if p.DeletionTimestamp != nil {
			continue
		}
		origin := in.origin(p)
		policy, conditions := in.judge(p, beyond[p])
		if conditions == nil {
			wanted[origin] = true
			o := written[origin]
			if !in.says(o, &policy) {
				plan.Puts = append(plan.Puts, PolicyPut{origin, policy, versionOf(o)})
				if in.Stuck[origin] == "" {
					plan.Standing[v1alpha1.ReasonPending]++
					continue // its status comes when it is written
				}
			}
			conditions = in.conditions(origin, &policy, standings[origin])
		}
		plan.Standing[conditions[0].Reason]++
		if next := in.status(p, conditions); next != nil {
			plan.Statuses = append(plan.Statuses, next)
			if n, ok := policyNotice(p, next); ok {
				plan.Notices[p.UID] = n
			}
		}
	}
	for origin, o := range written {
		if in.Whole && !wanted[origin] && !o.Deleted {
			plan.Deletes = append(plan.Deletes, PolicyPut{Origin: origin, Seen: o.Version})
		}
	}
	for _, puts := range [][]PolicyPut{plan.Puts, plan.Deletes} {
		slices.SortFunc(puts, func(a, b PolicyPut) int { return a.Origin.Compare(b.Origin) })
	}
	return plan
}

// judge returns what the federation is to have of an object, or the conditions that
// say why it gets nothing.
func (in *Policies) judge(p *v1alpha1.ResolutionPolicy, beyond bool) (catalog.ClusterPolicy, []metav1.Condition) {
	if beyond {
		return catalog.ClusterPolicy{}, []metav1.Condition{is(v1alpha1.PolicyReady, false, v1alpha1.ReasonTooMany, fmt.Sprintf(
			"the oldest %d ResolutionPolicies of a namespace and %d of a cluster count: delete some", MaxPoliciesPerNamespace, MaxPolicies))}
	}
	policy, err := translate(p)
	if err = cmp.Or(err, fits(in.origin(p), &policy)); err != nil {
		return policy, []metav1.Condition{is(v1alpha1.PolicyReady, false, v1alpha1.ReasonInvalid, err.Error())}
	}
	return policy, nil
}

// fits says what is too large for the federation.
func fits(origin catalog.PolicyOrigin, p *catalog.ClusterPolicy) error {
	if _, err := catalog.ParsePolicyOrigin(origin.String()); err != nil {
		return err
	}
	spec, err := json.Marshal(p)
	if err == nil && len(spec) > catalog.MaxClusterPolicy {
		err = fmt.Errorf("expected at most %d bytes of JSON as the federation has it, found %d: name fewer regions", catalog.MaxClusterPolicy, len(spec))
	}
	return err
}

func (in *Policies) origin(p *v1alpha1.ResolutionPolicy) catalog.PolicyOrigin {
	return catalog.PolicyOrigin{Cluster: in.Cluster, Namespace: p.Namespace, Name: p.Name}
}

// ours are the federation's objects of the own cluster.
func (in *Policies) ours() map[catalog.PolicyOrigin]*catalog.Object {
	out := map[catalog.PolicyOrigin]*catalog.Object{}
	for _, o := range in.Written {
		if origin, err := catalog.ParsePolicyOrigin(o.Name); err == nil && o.Kind == catalog.KindClusterPolicy && origin.Cluster == in.Cluster {
			out[origin] = o
		}
	}
	return out
}

// beyond are the objects that are too many: the youngest.
func (in *Policies) beyond() map[*v1alpha1.ResolutionPolicy]bool {
	byAge := slices.SortedFunc(slices.Values(in.Objects), func(a, b *v1alpha1.ResolutionPolicy) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	out := map[*v1alpha1.ResolutionPolicy]bool{}
	all, of := 0, map[string]int{}
	for _, p := range byAge {
		if p.DeletionTimestamp != nil {
			continue
		}
		if all >= MaxPolicies || of[p.Namespace] >= MaxPoliciesPerNamespace {
			out[p] = true
			continue
		}
		all++
		of[p.Namespace]++
	}
	return out
}

// says reports whether the federation's object says what the policy says, in the name
// of the own region: what another wrote about this cluster counts for nothing.
func (in *Policies) says(o *catalog.Object, p *catalog.ClusterPolicy) bool {
	if o == nil || o.Deleted || o.Version.Region != in.Region {
		return false
	}
	var have catalog.ClusterPolicy
	return json.Unmarshal(o.Spec, &have) == nil && same(&have, p)
}

// same compares two policies as the federation has them.
func same(a, b *catalog.ClusterPolicy) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

func versionOf(o *catalog.Object) catalog.ObjectVersion {
	if o == nil {
		return catalog.ObjectVersion{}
	}
	return o.Version
}

// conditions says what has become of a policy that was written; s is nil if nothing
// is known of it.
func (in *Policies) conditions(origin catalog.PolicyOrigin, policy *catalog.ClusterPolicy, s *catalog.PolicyStanding) []metav1.Condition {
	about := catalog.ServiceName{Namespace: origin.Namespace, Name: policy.Service}
	if s == nil || !same(&s.ClusterPolicy, policy) {
		why := cmp.Or(in.Stuck[origin], "the region has not taken it over yet")
		return []metav1.Condition{is(v1alpha1.PolicyReady, false, v1alpha1.ReasonPending, why)}
	}
	allowed := is(v1alpha1.PolicyRefused, false, v1alpha1.ReasonAllowed, "cluster "+in.Cluster+" may export the service")
	behind := func(reason, why string) []metav1.Condition {
		return []metav1.Condition{is(v1alpha1.PolicyReady, false, reason, why), is(v1alpha1.PolicyConflict, true, reason, why), allowed}
	}
	switch s.Standing {
	case catalog.StandsInForce:
		return []metav1.Condition{
			is(v1alpha1.PolicyReady, true, v1alpha1.ReasonInForce, fmt.Sprintf("it decides how %s is resolved, in every region", about)),
			is(v1alpha1.PolicyConflict, false, v1alpha1.ReasonNoConflicts, "no other policy for the service comes before it"), allowed,
		}
	case catalog.StandsBehindOlder:
		return behind(v1alpha1.ReasonOlderPolicy, fmt.Sprintf("ResolutionPolicy %s/%s of cluster %s is older and counts for %s", s.Winner.Namespace, s.Winner.Name, s.Winner.Cluster, about))
	case catalog.StandsBehindOperator:
		return behind(v1alpha1.ReasonOperatorPolicy, fmt.Sprintf("operators of the federation wrote a policy for %s, which counts: see federator policy get %s", about, about))
	case catalog.StandsRefused:
		why := fmt.Sprintf("no export rule of the federation lets cluster %s export %s, so it does not decide how that is resolved either; it is named by %s", in.Cluster, about, strings.Join(s.Rules, ", "))
		return []metav1.Condition{is(v1alpha1.PolicyReady, false, v1alpha1.ReasonExportRules, why), is(v1alpha1.PolicyRefused, true, v1alpha1.ReasonExportRules, why)}
	}
	return []metav1.Condition{is(v1alpha1.PolicyReady, false, v1alpha1.ReasonClusterNotJoined, fmt.Sprintf("cluster %s is not one of region %s in the federation's list of regions", in.Cluster, in.Region))}
}

// maxMessage bounds the message of a condition, in bytes; the API has it at 32 KiB.
const maxMessage = 2048

func is(kind string, holds bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if holds {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: clip(message)}
}

// status returns the object with its conditions, nil if it has them. Conditions that
// are not of ours stay.
func (in *Policies) status(p *v1alpha1.ResolutionPolicy, conditions []metav1.Condition) *v1alpha1.ResolutionPolicy {
	next := p.DeepCopy()
	settle(&next.Status.Conditions, conditions, []string{v1alpha1.PolicyReady, v1alpha1.PolicyConflict, v1alpha1.PolicyRefused}, p.Generation, in.Now)
	if equality.Semantic.DeepEqual(next.Status, p.Status) {
		return nil
	}
	return next
}

// settle puts conditions in the place of all those of the kinds. One whose status has
// not changed keeps its time.
func settle(have *[]metav1.Condition, want []metav1.Condition, kinds []string, generation int64, now metav1.Time) {
	for _, w := range want {
		w.ObservedGeneration, w.LastTransitionTime = generation, now
		meta.SetStatusCondition(have, w)
	}
	for _, kind := range kinds {
		if !slices.ContainsFunc(want, func(w metav1.Condition) bool { return w.Type == kind }) {
			meta.RemoveStatusCondition(have, kind)
		}
	}
}
