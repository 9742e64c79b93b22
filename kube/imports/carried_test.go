package imports

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

// said are the labels and annotations of an object of ours that are not ours.
func said(pairs map[string]string) map[string]string {
	out := maps.Clone(pairs)
	maps.DeleteFunc(out, func(k, _ string) bool { return catalog.ReservedKey(k) })
	return out
}

func (s *store) expectSaid(t *testing.T, when string, labels, annotations map[string]string) {
	t.Helper()
	i := s.in.Facts.Import
	if got := said(i.Labels); !maps.Equal(got, labels) {
		t.Errorf("%s: expected the labels %v, found %v", when, labels, got)
	}
	if got := said(i.Annotations); !maps.Equal(got, annotations) {
		t.Errorf("%s: expected the annotations %v, found %v", when, annotations, got)
	}
	if !ours(i, "checkout") || i.Annotations[AnnotationDerived] == "" || i.Annotations[AnnotationOrigin] == "" {
		t.Errorf("%s: expected our own marks, found %v %v", when, i.Labels, i.Annotations)
	}
	if p := Make(s.in); len(p.Writes) != 0 {
		t.Errorf("%s: expected nothing more to write, found %s", when, words(p.Writes))
	}
}

func TestKEP1645TheExportedLabelsAndAnnotationsOfTheOldestExportAreTheImports(t *testing.T) {
	team := catalog.Properties{Labels: map[string]string{"team": "checkout", "tier": "1"}, Annotations: map[string]string{"acme.example/notes": "a"}}
	pay := catalog.Properties{Labels: map[string]string{"team": "pay"}}
	s := newStore(t, saying(backend("west-1@us-west/a h"), pay), older(saying(backend("east-1@us-east/a h"), team)))
	s.settle(t)
	s.expectSaid(t, "at first", team.Labels, team.Annotations)
	service, slices := s.in.Facts.Service, s.in.Facts.Slices
	if len(said(service.Labels))+len(said(service.Annotations))+len(said(slices[0].Annotations)) != 0 {
		t.Errorf("expected nothing of another cluster's on the derived Service, found %v %v", service.Labels, service.Annotations)
	}

	s.in.Facts.Import = s.in.Facts.Import.DeepCopy()
	s.in.Facts.Import.Labels["somebody"], s.in.Facts.Import.Annotations["somebody"] = "else", "else"
	s.exported(t, saying(backend("west-1@us-west/a h"), pay))
	s.settle(t)
	s.expectSaid(t, "once the older is gone", map[string]string{"team": "pay", "somebody": "else"}, map[string]string{"somebody": "else"})

	s.in.Facts.Import = s.in.Facts.Import.DeepCopy()
	delete(s.in.Facts.Import.Labels, "team")
	s.settle(t)
	s.expectSaid(t, "after somebody took it away", map[string]string{"team": "pay", "somebody": "else"}, map[string]string{"somebody": "else"})

	s.exported(t, backend("west-1@us-west/a h"))
	s.settle(t)
	s.expectSaid(t, "once nothing is exported", map[string]string{"somebody": "else"}, map[string]string{"somebody": "else"})
	if _, ok := s.in.Facts.Import.Annotations[AnnotationCarried]; ok {
		t.Error("expected no record of nothing")
	}
}

func TestNobodyWritesOurMarksOrKubernetesKeysIntoAnImport(t *testing.T) {
	hostile := catalog.Properties{
		Labels:      map[string]string{LabelImport: "other", "kubernetes.io/metadata.name": "x", "a": "b"},
		Annotations: map[string]string{AnnotationOrigin: "-", AnnotationDerived: "victim", AnnotationCarried: `{"labels":["federator.dev/import"]}`},
	}
	s := newStore(t, older(saying(backend("east-1@us-east/a h"), hostile)))
	s.settle(t)
	s.expectSaid(t, "hostile", map[string]string{"a": "b"}, map[string]string{})
	i := s.in.Facts.Import.DeepCopy()
	i.Annotations[AnnotationCarried] = `{"labels":["federator.dev/import"],"annotations":["federator.dev/planned-from"]}`
	s.in.Facts.Import = i
	s.settle(t)
	s.expectSaid(t, "a record that was tampered with", map[string]string{"a": "b"}, map[string]string{})
}

func TestKEP1645TheOldestExportDecidesTheTrafficPoliciesOfTheImport(t *testing.T) {
	near := catalog.Properties{NodeLocal: true, TrafficDistribution: "PreferSameZone"}
	s := newStore(t, backend("west-1@us-west/a h"), older(saying(backend("east-1@us-east/a h"), near)))
	expect := func(when, policy, distribution string) {
		t.Helper()
		s.settle(t)
		spec := s.in.Facts.Import.Spec
		if string(value(spec.InternalTrafficPolicy)) != policy || value(spec.TrafficDistribution) != distribution {
			t.Errorf("%s: expected %q and %q, found %q and %q", when, policy, distribution, value(spec.InternalTrafficPolicy), value(spec.TrafficDistribution))
		}
		derived := s.in.Facts.Service.Spec
		if value(derived.InternalTrafficPolicy) == corev1.ServiceInternalTrafficPolicyLocal || derived.TrafficDistribution != nil {
			t.Errorf("%s: expected a derived Service that leads to all nodes, found %+v", when, derived)
		}
		if p := Make(s.in); len(p.Writes) != 0 {
			t.Errorf("%s: expected nothing more to write, found %s", when, words(p.Writes))
		}
	}
	expect("the oldest is of another cluster", "Local", "PreferSameZone")
	s.exported(t, backend("west-1@us-west/a h"))
	expect("it is gone", "Cluster", "")
	s.exported(t, headless(saying(backend("west-1@us-west/a h"), near)))
	expect("headless: clients choose for themselves", "", "")
}

func TestAnImportIsNotWrittenAgainForFieldsThatTheAPIServerDrops(t *testing.T) {
	near := catalog.Properties{NodeLocal: true, TrafficDistribution: "PreferClose", Labels: map[string]string{"team": "checkout"}}
	for name, p := range map[string]catalog.Properties{"default": {}, "policies": near} {
		s := newStore(t, saying(backend("west-1@us-west/a h"), p))
		s.prunes = true
		s.settle(t) // fails if there is always more to write
		if p := Make(s.in); len(p.Writes) != 0 {
			t.Errorf("%s: expected nothing to write, found %s", name, words(p.Writes))
		}
		if i := s.in.Facts.Import; i.Spec.InternalTrafficPolicy != nil || i.Status.EndpointSliceObjects != "" {
			t.Fatalf("%s: the store drops nothing", name)
		}
	}

	s := newStore(t, saying(backend("west-1@us-west/a h"), near))
	s.prunes = true
	s.settle(t)
	s.prunes = false // a newer definition: whatever is written next has them
	s.exported(t, older(saying(backend("west-1@us-west/a hh"), near)), backend("east-1@us-east/a h"))
	s.settle(t)
	i := s.in.Facts.Import
	if value(i.Spec.InternalTrafficPolicy) != "Local" || value(i.Spec.TrafficDistribution) != "PreferClose" || i.Status.EndpointSliceObjects != mcsv1beta1.EndpointSliceObjectsPresent {
		t.Errorf("expected the fields with the next write, found %+v %+v", i.Spec, i.Status)
	}
}

func TestAnImportOfAnOlderBuildGetsWhatItLacks(t *testing.T) {
	near := catalog.Properties{NodeLocal: true, TrafficDistribution: "PreferClose"}
	s := newStore(t, backend("west-1@us-west/a h"))
	s.settle(t)
	i := s.in.Facts.Import.DeepCopy()
	i.Spec.InternalTrafficPolicy = nil
	s.in.Facts.Import = i
	if p := Make(s.in); len(p.Writes) != 0 {
		t.Errorf("no policy means Cluster: expected nothing to write, found %s", words(p.Writes))
	}
	s.exported(t, saying(backend("west-1@us-west/a h"), near))
	s.settle(t)
	if i := s.in.Facts.Import; value(i.Spec.InternalTrafficPolicy) != "Local" || value(i.Spec.TrafficDistribution) != "PreferClose" {
		t.Errorf("found %+v", i.Spec)
	}
	i = s.in.Facts.Import.DeepCopy()
	i.Spec.TrafficDistribution = new("PreferSameNode")
	s.in.Facts.Import = i
	s.settle(t)
	if got := value(s.in.Facts.Import.Spec.TrafficDistribution); got != "PreferClose" {
		t.Errorf("somebody changed it: expected PreferClose again, found %s", got)
	}
}
