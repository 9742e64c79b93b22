package imports

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

func TestClientsAreSentWhereTheResolutionSays(t *testing.T) {
	weights := func(w map[string]uint32) func(*catalog.Conditions) {
		return func(c *catalog.Conditions) {
			c.Policies = map[string]catalog.Policy{"shop/checkout": {Weights: w}}
		}
	}
	for name, tt := range map[string]struct {
		backends  []string
		condition func(*catalog.Conditions)
		want      map[string]int
	}{
		"the own region first":       {backends: []string{"west-1@us-west/a hh", "east-1@us-east/a hh"}, want: map[string]int{"west-1": 2}},
		"all clusters of the region": {backends: []string{"west-1@us-west/a hh", "west-2@us-west/b hhh"}, want: map[string]int{"west-1": 2, "west-2": 3}},
		"then the nearest":           {backends: []string{"east-1@us-east/a hh", "eu-1@eu-central/a hh"}, want: map[string]int{"east-1": 2}},
		// Half of the region is healthy: 70 % of the traffic stays, 30 % goes on.
		"spill-over by the share of endpoints": {
			backends: []string{"west-1@us-west/a hhhhhhhuuuuuuu", "east-1@us-east/a hhhhhhhhhh"}, want: map[string]int{"west-1": 7, "east-1": 3},
		},
		"weights by the share of endpoints": {
			backends: []string{"west-1@us-west/a hhhhhhhhh", "east-1@us-east/a hhhhhhhhh"}, condition: weights(map[string]uint32{"us-west": 75, "us-east": 25}),
			want: map[string]int{"west-1": 9, "east-1": 3},
		},
		"nobody is well: everybody serves": {
			backends: []string{"west-1@us-west/a uu", "east-1@us-east/a uu"}, want: map[string]int{"west-1": 2, "east-1": 2},
		},
		"an evacuated region is left out": {
			backends: []string{"west-1@us-west/a hh", "east-1@us-east/a hh"},
			condition: func(c *catalog.Conditions) {
				c.Evacuations = map[string]catalog.Evacuation{"us-west": {Region: "us-west", Started: start, Duration: 1}}
			},
			want: map[string]int{"east-1": 2},
		},
		"a drill in part takes its part": {
			backends: []string{"west-1@us-west/a hhhhhhhhhh", "east-1@us-east/a hhhhhhhhhh"},
			condition: func(c *catalog.Conditions) {
				c.Drills = []catalog.DrillInForce{{ID: "d", Scope: catalog.Scope{Region: "us-west"}, Share: 400_000, Begun: start}}
			},
			want: map[string]int{"west-1": 10, "east-1": 7}, // 59 % for 60 %
		},
		"a drill of a cluster takes its part of the zone": {
			backends: []string{"west-1@us-west/a hhhhhhhhhh", "west-2@us-west/a hhhhhhhhhh"},
			condition: func(c *catalog.Conditions) {
				c.Drills = []catalog.DrillInForce{{ID: "d", Scope: catalog.Scope{Region: "us-west", Cluster: "west-1"}, Share: 500_000, Begun: start}}
			},
			want: map[string]int{"west-1": 3, "west-2": 10}, // 23 % for 25 %
		},
		"a region that is out is left out, a stale one is not": {
			backends:  []string{"east-1@us-east/a hh", "eu-1@eu-central/a hh"},
			condition: func(c *catalog.Conditions) { c.Reach["us-east"] = catalog.Out },
			want:      map[string]int{"eu-1": 2},
		},
		"the control plane of a region is lost: its endpoints stay": {
			backends:  []string{"east-1@us-east/a hh", "eu-1@eu-central/a hh"},
			condition: func(c *catalog.Conditions) { c.Reach["us-east"] = catalog.ControlPlaneLost },
			want:      map[string]int{"east-1": 2},
		},
	} {
		var backends []catalog.Backend
		for _, spec := range tt.backends {
			backends = append(backends, backend(spec))
		}
		s := newStore(t, backends...)
		if tt.condition != nil {
			tt.condition(s.in.Conditions)
		}
		s.settle(t)
		if got := s.perCluster(); !maps.Equal(got, tt.want) {
			t.Errorf("%s: expected %v, found %v", name, tt.want, got)
		}
	}
}

func TestSharesAreReported(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a hhhhhhhuuuuuuu"), backend("east-1@us-east/a hhhhhhhhhh"))
	s.settle(t)
	want := `[{"locality":"us-west/a","wanted":70,"achieved":70},{"locality":"us-east/a","wanted":30,"achieved":30}]`
	if got := s.in.Facts.Import.Annotations[AnnotationShares]; got != want {
		t.Errorf("expected %s, found %s", want, got)
	}
}

func TestSharesAreOfAFamilyThatHasEndpoints(t *testing.T) {
	b := backend("west-1@us-west/a hh")
	for i := range b.Set.Endpoints {
		b.Set.Endpoints[i].Address = mustSix(i)
	}
	s := newStore(t, b)
	s.settle(t)
	s.in.Facts.Service = s.in.Facts.Service.DeepCopy()
	s.in.Facts.Service.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	s.settle(t)
	want := `[{"locality":"us-west/a","wanted":100,"achieved":100}]`
	if got := s.in.Facts.Import.Annotations[AnnotationShares]; got != want {
		t.Errorf("expected %s, found %s", want, got)
	}
}

func TestAnImportSaysHowFarItsSharesAreFromTheWantedOnes(t *testing.T) {
	for _, tt := range []struct{ name, west, east, want string }{
		{"all of one locality", "hhh", "h", "imported"},
		{"half and half of as many", "hhhhhuuuuu", "hhhhh", "imported"}, // 70 % and 30 %, of 5 and 2 endpoints
		{"46 % and 54 % of one endpoint each", "huu", "h", "imported; 4 % of the traffic goes elsewhere than wanted"},
	} {
		s := newStore(t, backend("west-1@us-west/a "+tt.west), backend("east-1@us-east/a "+tt.east))
		p := s.settle(t)
		found := find(t, s.in.Facts.Import.Status.Conditions, "Ready")
		said, why, _ := strings.Cut(found.Message, ":")
		if found.Status != metav1.ConditionTrue || said != tt.want || (why != "") != (said != "imported") || why != "" && !strings.Contains(why, AnnotationShares) {
			t.Errorf("%s: expected it Ready and %q, found %s %q with an error of %d", tt.name, tt.want, found.Status, found.Message, p.Err)
		}
	}
}

func TestAnUnhealthyEndpointStaysInItsSliceAndIsNotReady(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a hhhhh"))
	s.settle(t)
	before := s.in.Facts.Slices[0].Name
	s.exported(t, backend("west-1@us-west/a hhhux"))
	p := Make(s.in)
	if len(p.Writes) != 1 || p.Writes[0].Verb != Update || p.Urgency != Flipped {
		t.Fatalf("expected one urgent update, found %s, urgency %d", words(p.Writes), p.Urgency)
	}
	s.settle(t)
	slice := s.in.Facts.Slices[0]
	if slice.Name != before || len(slice.Endpoints) != 5 {
		t.Fatalf("expected the same slice with all five, found %s with %d", slice.Name, len(slice.Endpoints))
	}
	var states []string
	for _, e := range slice.Endpoints {
		states = append(states, fmt.Sprint(*e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating))
	}
	if want := []string{"true true false", "true true false", "true true false", "false false false", "false true true"}; !slices.Equal(sorted(states), sorted(want)) {
		t.Errorf("expected ready, serving, terminating %v, found %v", want, states)
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func TestAServiceWithoutALiveEndpointIsMostUrgent(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a hh"), backend("east-1@us-east/a hh"))
	if p := Make(s.in); p.Urgency != Flipped {
		t.Errorf("a new import: expected urgency %d, found %d", Flipped, p.Urgency)
	}
	s.settle(t)
	s.exported(t, backend("west-1@us-west/a uu"), backend("east-1@us-east/a hh"))
	p := Make(s.in)
	if p.Urgency != Dead {
		t.Errorf("all that are listed have died: expected urgency %d, found %d, %s", Dead, p.Urgency, words(p.Writes))
	}
	s.settle(t)
	if got := s.listed(true); len(got) != 2 || !strings.HasPrefix(got[0], "east-1/") {
		t.Errorf("expected the endpoints of east-1, found %v", got)
	}
	if got := s.listed(false); len(got) != 2 {
		t.Errorf("expected the dead ones to stay listed as not ready, found %v", got)
	}
	s.in.Zones = map[string]int{"a": 1}
	s.in.Facts.Import.Annotations[AnnotationShares] = ""
	if p := Make(s.in); p.Urgency != Rest {
		t.Errorf("only shares differ: expected urgency %d, found %d", Rest, p.Urgency)
	}
}

func TestZoneHintsAreGivenToAllEndpointsOrNone(t *testing.T) {
	for name, tt := range map[string]struct {
		backends []string
		zones    map[string]int
		want     bool
	}{
		"every zone can be left to itself": {[]string{"west-1@us-west/a hh /b hh"}, map[string]int{"a": 3, "b": 3}, true},
		"one zone only":                    {[]string{"west-1@us-west/a hh"}, map[string]int{"a": 3}, false},
		"no nodes known":                   {[]string{"west-1@us-west/a hh /b hh"}, nil, false},
		"an endpoint without a zone":       {[]string{"west-1@us-west/a hh /b hh / h"}, map[string]int{"a": 3, "b": 3}, false},
		"a zone without endpoints":         {[]string{"west-1@us-west/a hh"}, map[string]int{"a": 3, "b": 3}, false},
		"a zone that spills over":          {[]string{"west-1@us-west/a huuu /b hhhh"}, map[string]int{"a": 1, "b": 4}, false},
		"too few endpoints in a zone":      {[]string{"west-1@us-west/a h /b hhhhh"}, map[string]int{"a": 3, "b": 3}, false},
		"another region":                   {[]string{"east-1@us-east/a hh /b hh"}, map[string]int{"a": 3, "b": 3}, false},
		"a zone of another cluster":        {[]string{"west-1@us-west/a hh /b hh", "west-2@us-west/c hh"}, map[string]int{"a": 3, "b": 3}, false},
	} {
		var backends []catalog.Backend
		for _, spec := range tt.backends {
			backends = append(backends, backend(spec))
		}
		s := newStore(t, backends...)
		s.in.Zones = tt.zones
		s.settle(t)
		for _, slice := range s.in.Facts.Slices {
			for _, e := range slice.Endpoints {
				if tt.want != (e.Hints != nil) || tt.want && e.Hints.ForZones[0].Name != *e.Zone {
					t.Errorf("%s: expected hints %v, found %+v for zone %s", name, tt.want, e.Hints, value(e.Zone))
				}
			}
		}
	}
}

func TestZoneHintsOfAPortAreByTheClustersThatExposeIt(t *testing.T) {
	// All of zone b's clients could stay there with the cluster that has one port only;
	// of the other port zone b has one well endpoint in three.
	s := newStore(t, older(withPorts(backend("west-1@us-west/a hhh /b huu"), http, metrics)), withPorts(backend("west-2@us-west/b hhhhhhhhhhhh"), http))
	s.in.Zones = map[string]int{"a": 3, "b": 1}
	s.settle(t)
	for _, slice := range s.in.Facts.Slices {
		for _, e := range slice.Endpoints {
			if *slice.Ports[0].Name == metrics.Name && e.Hints != nil {
				t.Errorf("%s: expected no hints for a zone that spills over, found %+v for zone %s", slice.Name, e.Hints, value(e.Zone))
			}
		}
	}
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	s := newStore(t, backend("east-1@us-east/a hh"))
	s.in.Facts.Import = &mcsv1beta1.ServiceImport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout", UID: "theirs"}}
	p := Make(s.in)
	if len(p.Writes) != 0 || !slices.Equal(p.Foreign, []string{"ServiceImport shop/checkout"}) || p.Imported {
		t.Errorf("a foreign import: expected nothing but a report, found %s and %v", words(p.Writes), p.Foreign)
	}
	s.in.Service = nil
	if p := Make(s.in); len(p.Writes) != 0 {
		t.Errorf("a foreign import of nothing: expected no writes, found %s", words(p.Writes))
	}

	s = newStore(t, backend("east-1@us-east/a hh"))
	s.settle(t)
	s.in.Facts.Service = s.in.Facts.Service.DeepCopy()
	s.in.Facts.Service.Labels = nil
	before := s.in.Facts.Service.ResourceVersion
	p = s.settle(t)
	if s.in.Facts.Service.ResourceVersion != before || len(s.in.Facts.Slices) != 0 || !slices.Equal(p.Foreign, []string{"Service shop/" + DerivedName(checkout)}) {
		t.Errorf("a foreign derived Service: expected it unchanged and without our slices, found %d slices, %v", len(s.in.Facts.Slices), p.Foreign)
	}
	if c := find(t, s.in.Facts.Import.Status.Conditions, "Ready"); c.Status != metav1.ConditionFalse || c.Reason != ReasonNameTaken {
		t.Errorf("expected Ready=False, NameTaken, found %+v", c)
	}

	s = newStore(t, backend("east-1@us-east/a hh"))
	s.settle(t)
	name := s.in.Facts.Slices[0].Name
	s.in.Facts.Slices, s.in.Facts.Taken = nil, map[string]bool{name: true}
	s.settle(t)
	if got := s.in.Facts.Slices[0].Name; got == name {
		t.Errorf("a foreign slice named %s: expected another name, found %s", name, got)
	}
}

func TestOneEndpointMoreOrLessChangesOneSlice(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a "+strings.Repeat("h", 250)))
	s.settle(t)
	if len(s.in.Facts.Slices) != 3 {
		t.Fatalf("expected three slices for 250 endpoints, found %d", len(s.in.Facts.Slices))
	}
	more := backend("west-1@us-west/a " + strings.Repeat("h", 251))
	s.exported(t, more)
	if p := Make(s.in); len(p.Writes) != 1 || p.Writes[0].Verb != Update {
		t.Errorf("one more: expected one slice updated, found %s", words(p.Writes))
	}
	s.settle(t)
	less := backend("west-1@us-west/a " + strings.Repeat("h", 251))
	less.Set.Endpoints, less.Health = slices.Delete(less.Set.Endpoints, 17, 18), slices.Delete(less.Health, 17, 18)
	s.exported(t, less)
	if p := Make(s.in); len(p.Writes) != 1 || p.Writes[0].Verb != Update {
		t.Errorf("one less: expected one slice updated, found %s", words(p.Writes))
	}
}

func TestTwoImportingClustersUseDifferentSubsets(t *testing.T) {
	subset := func(cluster string) []string {
		s := newStore(t, backend("east-1@us-east/a "+strings.Repeat("h", 50)), backend("eu-1@eu-central/a hhhhh"))
		s.in.Cluster = cluster
		s.in.Conditions.Policies = map[string]catalog.Policy{"default": {Weights: map[string]uint32{"us-east": 50, "eu-central": 50}}}
		s.settle(t)
		return slices.DeleteFunc(s.listed(true), func(e string) bool { return !strings.HasPrefix(e, "east-1/") })
	}
	one, two := subset("west-1"), subset("west-2")
	if len(one) != 5 || slices.Equal(one, two) {
		t.Errorf("expected different five of the fifty, found %v and %v", one, two)
	}
}

func TestAnUnnamedPortBesideOthersIsNamedForTheDerivedService(t *testing.T) {
	unnamed := catalog.Port{Protocol: catalog.TCP, Number: 443}
	s := newStore(t, older(withPorts(backend("west-1@us-west/a h"), unnamed)), withPorts(backend("west-2@us-west/a h"), http))
	s.settle(t)
	var names []string
	for _, p := range s.in.Facts.Service.Spec.Ports {
		names = append(names, p.Name)
	}
	for _, slice := range s.in.Facts.Slices {
		if !slices.Contains(names, *slice.Ports[0].Name) {
			t.Errorf("slice %s has port %q, the Service has %v", slice.Name, *slice.Ports[0].Name, names)
		}
	}
	if want := []string{"port-443", "http"}; !slices.Equal(names, want) {
		t.Errorf("expected %v, found %v", want, names)
	}
}

func TestAnAddressFamilyThatTheClusterLacksIsReported(t *testing.T) {
	b := backend("east-1@us-east/a h")
	b.Set.Endpoints[0].Address = netip.MustParseAddr("fd00::1")
	s := newStore(t, b)
	s.settle(t)
	if c := find(t, s.in.Facts.Import.Status.Conditions, "Ready"); c.Reason != "IPFamilyNotSupported" || c.Status != metav1.ConditionFalse {
		t.Errorf("expected Ready=False, IPFamilyNotSupported, found %+v", c)
	}
}

func TestWhatTheAPIServerWouldRefuseIsLeftOut(t *testing.T) {
	b := unlistable(backend("west-1@us-west/a hhhh"))
	b.Set.Headless = true // both families
	s := newStore(t, b)
	s.settle(t)
	if got := s.listed(true); len(got) != 1 || got[0] != "west-1/10.34.0.3" {
		t.Errorf("expected the one endpoint that other hosts can reach, found %v", got)
	}
	for what, p := range map[string]*string{
		"import": s.in.Facts.Import.Spec.Ports[0].AppProtocol, "Service": s.in.Facts.Service.Spec.Ports[0].AppProtocol, "slice": s.in.Facts.Slices[0].Ports[0].AppProtocol,
	} {
		if p != nil {
			t.Errorf("%s: expected no appProtocol, found %q", what, *p)
		}
	}
}

// unlistable gives all endpoints but the last addresses that no EndpointSlice may
// have, and the port an application protocol that no port may have.
func unlistable(b catalog.Backend) catalog.Backend {
	for i, a := range []string{"127.0.0.1", "169.254.0.1", "fe80::1"} {
		b.Set.Endpoints[i].Address = netip.MustParseAddr(a)
	}
	p := http
	p.AppProtocol = "HTTP over what not"
	return withPorts(b, p)
}

func TestUsersAreToldWhenTheLastEndpointGoesAndTheFirstIsBack(t *testing.T) {
	s := newStore(t, backend("east-1@us-east/a hh"))
	told := func() (out []string) {
		for range 10 {
			p := Make(s.in)
			for _, w := range p.Writes {
				for _, n := range w.Notes {
					out = append(out, n.Reason)
				}
				s.apply(t, w)
			}
		}
		return out
	}
	for _, c := range []struct{ endpoints, want string }{
		{"hh", "[Imported]"}, {"h", "[]"}, {"", "[NoEndpoints]"}, {"h", "[Endpoints]"}, {"hhh", "[]"},
	} {
		s.exported(t, backend("east-1@us-east/a "+c.endpoints))
		if got := fmt.Sprint(told()); got != c.want {
			t.Errorf("with the endpoints %q: told %s, expected %s", c.endpoints, got, c.want)
		}
	}
}
