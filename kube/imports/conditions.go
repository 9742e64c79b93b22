package imports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

// Reasons of conditions besides those of the Multi-Cluster Services API.
const (
	// ReasonExportRefused is why an export is not Ready that the federation's export
	// rules do not allow. It stays Valid: its Service could be exported.
	ReasonExportRefused = "ExportRefused"
	// ReasonNameTaken is why an import is not Ready whose derived Service's name
	// belongs to an object that is not ours.
	ReasonNameTaken = "NameTaken"
)

// Verdict is what the exporting side found out about a ServiceExport of this
// cluster.
type Verdict struct {
	// Valid: its Service exists and can be exported. If not, Reason and Message say
	// why, in the words of the API ("NoService", "InvalidServiceType"); if it is,
	// Message may say what of it is left out.
	Valid   bool
	Reason  string
	Message string
	// Refused is the export rule that forbids it, in words; "" if none does.
	Refused string
}

// condition makes a condition; the rest of it is set by [settle].
func condition(kind string, holds bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if holds {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

// settle gives the conditions their generation and times: those of have whose
// status has not changed keep theirs. It reports whether anything has changed.
func settle(have, want []metav1.Condition, generation int64, now metav1.Time) bool {
	changed := false
	for i := range want {
		w := &want[i]
		w.ObservedGeneration, w.LastTransitionTime = generation, now
		at := slices.IndexFunc(have, func(h metav1.Condition) bool { return h.Type == w.Type })
		if at < 0 {
			changed = true
			continue
		}
		h := &have[at]
		if h.Status == w.Status {
			w.LastTransitionTime = h.LastTransitionTime
		}
		changed = changed || h.Status != w.Status || h.Reason != w.Reason || h.Message != w.Message ||
			h.ObservedGeneration != w.ObservedGeneration
	}
	return changed
}

// Exportable is the message of the condition Valid of an export of which nothing is to be
// said.
const Exportable = "the Service can be exported"

// exportConditions says what has become of this cluster's ServiceExport.
func (in *Input) exportConditions() []metav1.Condition {
	v := in.Verdict
	if !v.Valid {
		return []metav1.Condition{
			condition(string(mcsv1beta1.ServiceExportConditionValid), false, v.Reason, v.Message),
			condition(string(mcsv1beta1.ServiceExportConditionReady), false, string(mcsv1beta1.ServiceExportReasonFailed), "not exported: "+v.Message),
		}
	}
	out := []metav1.Condition{condition(string(mcsv1beta1.ServiceExportConditionValid), true, string(mcsv1beta1.ServiceExportReasonValid), cmp.Or(v.Message, Exportable))}
	ready := string(mcsv1beta1.ServiceExportConditionReady)
	switch {
	case v.Refused != "":
		return append(out, condition(ready, false, ReasonExportRefused, v.Refused))
	case !in.exports():
		return append(out, condition(ready, false, string(mcsv1beta1.ServiceExportReasonPending), "the region has not taken it over yet"))
	}
	out = append(out, condition(ready, true, string(mcsv1beta1.ServiceExportReasonExported), "exported to the federation as cluster "+in.Cluster))
	reasons, message := in.conflicts()
	if len(reasons) == 0 {
		return append(out, condition(string(mcsv1beta1.ServiceExportConditionConflict), false,
			string(mcsv1beta1.ServiceExportReasonNoConflicts), "all exports agree"))
	}
	return append(out, condition(string(mcsv1beta1.ServiceExportConditionConflict), true, strings.Join(reasons, ","), message))
}

// exports reports whether this cluster is among the exporters.
func (in *Input) exports() bool {
	return in.Service != nil && slices.ContainsFunc(in.Service.Backends, func(b catalog.Backend) bool { return b.Set.Cluster == in.Cluster })
}

// conflicts returns the reasons why not all exports are as they say, and what holds
// instead.
func (in *Input) conflicts() (reasons []string, message string) {
	first, n := in.oldest(), len(in.Service.Backends)
	types, ports, affinities, timeouts, reached := 0, 0, 0, 0, 0
	properties := map[catalog.ConflictReason]int{}
	held, all := in.affinity(), in.reached()
	for i := range in.Service.Backends {
		set := in.Service.Backends[i].Set
		types += btoi(set.Headless != in.Service.Headless)
		ports += btoi(!in.exactly(set.Ports))
		a := affinity(set.AffinitySeconds)
		affinities += btoi(!in.Service.Headless && (a == 0) != (held == 0))
		timeouts += btoi(!in.Service.Headless && a != 0 && held != 0 && a != held)
		for _, reason := range catalog.Disagreements(set, first.Set) {
			properties[reason]++
		}
		own := familiesOf(set)
		reached += btoi(own != families{} && own != all)
	}
	var words []string
	note := func(reason mcsv1beta1.ServiceExportConditionReason, disagree int, holds string) {
		if disagree > 0 {
			reasons = append(reasons, string(reason))
			words = append(words, fmt.Sprintf("%s; %d of %d clusters disagree", holds, disagree, n))
		}
	}
	kind, _ := held.kubernetes()
	note(mcsv1beta1.ServiceExportReasonPortConflict, ports, "ports differ: those of all clusters are exposed, and each leads to the clusters that have it; of one name, or of one protocol and number, the oldest export decides")
	note(mcsv1beta1.ServiceExportReasonTypeConflict, types, fmt.Sprintf("type: %s, from the oldest export, of cluster %s", typeOf(in.Service), first.Set.Cluster))
	note(mcsv1beta1.ServiceExportReasonSessionAffinityConflict, affinities, fmt.Sprintf("session affinity: %s, from the oldest export, of cluster %s", kind, first.Set.Cluster))
	note(mcsv1beta1.ServiceExportReasonSessionAffinityConfigConflict, timeouts, fmt.Sprintf("session affinity: %d s, from the oldest export, of cluster %s", held, first.Set.Cluster))
	for _, p := range in.properties() {
		note(mcsv1beta1.ServiceExportConditionReason(p.reason), properties[p.reason], fmt.Sprintf("%s the oldest export, of cluster %s", p.holds, first.Set.Cluster))
	}
	note(mcsv1beta1.ServiceExportReasonIPFamilyConflict, reached, "IP families: clients of one family reach only the clusters that have endpoints of it")
	return reasons, strings.Join(words, ". ")
}

// property is one that exports may disagree about, and what holds of it.
type property struct {
	reason catalog.ConflictReason
	holds  string
}

// properties are in words what of the service's [catalog.Properties] holds. Labels and
// annotations are not repeated: they are other people's text.
func (in *Input) properties() []property {
	var p catalog.Properties
	if in.Service.Properties != nil {
		p = *in.Service.Properties
	}
	return []property{
		{catalog.LabelsConflict, "exported labels: those of"},
		{catalog.AnnotationsConflict, "exported annotations: those of"},
		{catalog.InternalTrafficPolicyConflict, "internal traffic policy: " + string(internalTraffic(&p)) + ", from"},
		{catalog.TrafficDistributionConflict, "traffic distribution: " + cmp.Or(p.TrafficDistribution, "none") + ", from"},
	}
}

// exactly reports whether one exporter has the ports that the service has, and no
// others.
func (in *Input) exactly(ports []catalog.Port) bool {
	return len(ports) == len(in.Service.Ports) && !slices.ContainsFunc(ports, func(p catalog.Port) bool {
		return !slices.Contains(in.Service.Ports, p)
	})
}

func typeOf(s *catalog.Service) mcsv1beta1.ServiceImportType {
	if s.Headless {
		return mcsv1beta1.Headless
	}
	return mcsv1beta1.ClusterSetIP
}

// importCondition says how far the import is, and how far the shares of its traffic are
// from the wanted ones, in parts per million of all of it, where that is more than is
// accepted for the sake of listing more endpoints.
func (in *Input) importCondition(state importState, off uint64) metav1.Condition {
	ready := string(mcsv1beta1.ServiceImportConditionReady)
	switch state {
	case stateTaken:
		return condition(ready, false, ReasonNameTaken, fmt.Sprintf(
			"Service %s exists and is not ours (it has no label %s=%s); delete or rename it", DerivedName(in.Name), LabelImport, in.Name.Name))
	case stateWaiting:
		return condition(ready, false, string(mcsv1beta1.ServiceImportReasonPending), "the derived Service has no cluster IP yet")
	case stateFamilies:
		return condition(ready, false, string(mcsv1beta1.ServiceImportReasonIPFamilyNotSupported),
			"no exporter has endpoints of an address family that Services have in this cluster, loopback and link-local addresses aside")
	}
	message := "imported"
	if p := percent(off, unit); p > percent(tolerance, unit) {
		message = fmt.Sprintf("imported; %d %% of the traffic goes elsewhere than wanted: shares of endpoints only approximate shares of traffic, see the annotation %s", p, AnnotationShares)
	}
	return condition(ready, true, string(mcsv1beta1.ServiceImportReasonReady), message)
}

// importState is how far an import is.
type importState int

const (
	stateReady importState = iota
	stateWaiting
	stateTaken
	stateFamilies
)
