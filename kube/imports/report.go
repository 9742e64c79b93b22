package imports

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// reportExport brings the conditions of this cluster's ServiceExport up to date.
func (p *planner) reportExport() {
	x := p.Facts.Export
	if x == nil || p.Verdict == nil || x.DeletionTimestamp != nil {
		return
	}
	// A ServiceExport is not ours to stamp; what its import was planned from tells.
	if behind := p.Knowledge.behind(p.was); behind != "" {
		p.Behind = cmp.Or(p.Behind, behind)
		return
	}
	want := p.exportConditions()
	changed := settle(x.Status.Conditions, want, x.Generation, p.Now)
	conflict := string(mcsv1beta1.ServiceExportConditionConflict)
	if len(want) < 3 && slices.ContainsFunc(x.Status.Conditions, func(c metav1.Condition) bool { return c.Type == conflict }) {
		changed = true // we do not export it, so there is nothing in conflict
	}
	if !changed {
		return
	}
	next := &mcsv1beta1.ServiceExport{ObjectMeta: metav1.ObjectMeta{
		Namespace: x.Namespace, Name: x.Name, UID: x.UID, ResourceVersion: x.ResourceVersion,
	}}
	next.Status.Conditions = want
	p.write(ApplyStatus, next, exportNotes(x.Status.Conditions, want)...)
}

// exportNotes tells what has changed about an export.
func exportNotes(have, want []metav1.Condition) (notes []Note) {
	for _, w := range want {
		at := slices.IndexFunc(have, func(h metav1.Condition) bool { return h.Type == w.Type })
		if at >= 0 && have[at].Status == w.Status && have[at].Reason == w.Reason {
			continue
		}
		holds := w.Status == metav1.ConditionTrue
		n := Note{OnExport: true, Reason: w.Reason, Message: w.Message}
		switch mcsv1beta1.ServiceExportConditionType(w.Type) {
		case mcsv1beta1.ServiceExportConditionValid:
			n.Warning = !holds
			if holds {
				continue // Ready says more
			}
		case mcsv1beta1.ServiceExportConditionReady:
			n.Warning = w.Reason == ReasonExportRefused
			if !holds && !n.Warning {
				continue // on its way, or Valid says why not
			}
		case mcsv1beta1.ServiceExportConditionConflict:
			n.Warning = holds
			if holds {
				n.Reason = "Conflict"
			} else if at < 0 {
				continue // there never was one
			}
		}
		notes = append(notes, n)
	}
	return notes
}
