package imports

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

// The rules of KEP-1645 for importing clusters, each as a test named after it.

func TestKEP1645AServiceIsImportedIffSomebodyExportsItAndTheNamespaceExists(t *testing.T) {
	s := newStore(t, backend("east-1@us-east/a hh"))
	s.in.Facts.Namespace = false
	if p := s.settle(t); s.writes != 0 || p.Imported {
		t.Errorf("without the namespace: expected nothing written, found %d writes", s.writes)
	}
	s.in.Facts.Namespace = true
	s.settle(t)
	if s.in.Facts.Import == nil || s.in.Facts.Service == nil || len(s.in.Facts.Slices) != 1 {
		t.Fatalf("expected an import, a derived Service and one slice, found %+v", s.in.Facts)
	}
	s.exported(t)
	s.in.Knowledge = knows(2)
	s.settle(t)
	if s.in.Facts.Import != nil || s.in.Facts.Service != nil || len(s.in.Facts.Slices) != 0 {
		t.Errorf("with the last export gone: expected nothing left, found %+v", s.in.Facts)
	}
}

func TestKEP1645AnExportingClusterImportsTheServiceToo(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a hh"))
	s.settle(t)
	if got := s.perCluster(); got["west-1"] != 2 {
		t.Errorf("expected the two endpoints of the own cluster, found %v", got)
	}
}

func TestKEP1645AnImportSaysWhoExportsItAndWhereItIsReached(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a hh"), backend("east-2@us-east/a h"))
	s.settle(t)
	i := s.in.Facts.Import
	if i.Spec.Type != mcsv1beta1.ClusterSetIP || !slices.Equal(i.Spec.IPs, []string{"172.20.0.1"}) ||
		!slices.Equal(i.Spec.IPFamilies, []corev1.IPFamily{corev1.IPv4Protocol}) {
		t.Errorf("expected ClusterSetIP at 172.20.0.1 with IPv4, found %+v", i.Spec)
	}
	if want := []mcsv1beta1.ClusterStatus{{Cluster: "east-2"}, {Cluster: "west-1"}}; !slices.Equal(i.Status.Clusters, want) {
		t.Errorf("expected clusters %v, found %v", want, i.Status.Clusters)
	}
	if i.Status.EndpointSliceObjects != mcsv1beta1.EndpointSliceObjectsPresent {
		t.Errorf("expected slices to be Present, found %q", i.Status.EndpointSliceObjects)
	}
	if c := find(t, i.Status.Conditions, "Ready"); c.Status != metav1.ConditionTrue || c.Reason != "Ready" || c.ObservedGeneration != i.Generation {
		t.Errorf("expected Ready=True of generation %d, found %+v", i.Generation, c)
	}
}

func TestKEP1645EverySliceHasEndpointsOfOneSourceClusterAndSaysWhich(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a hh"), backend("west-2@us-west/b hhh"))
	s.settle(t)
	if len(s.in.Facts.Slices) != 2 {
		t.Fatalf("expected two slices, found %d", len(s.in.Facts.Slices))
	}
	for _, slice := range s.in.Facts.Slices {
		want := map[string]string{
			"multicluster.kubernetes.io/service-name":   "checkout",
			"kubernetes.io/service-name":                DerivedName(checkout),
			"endpointslice.kubernetes.io/managed-by":    "federator.dev",
			"multicluster.kubernetes.io/source-cluster": map[int]string{2: "west-1", 3: "west-2"}[len(slice.Endpoints)],
		}
		for label, v := range want {
			if slice.Labels[label] != v {
				t.Errorf("slice %s: expected %s=%s, found %q", slice.Name, label, v, slice.Labels[label])
			}
		}
		if !owned(slice, s.in.Facts.Import) || slice.OwnerReferences[0].Kind != "ServiceImport" {
			t.Errorf("slice %s: expected it to belong to the ServiceImport, found %v", slice.Name, slice.OwnerReferences)
		}
	}
}

func TestKEP1645TheClustersetIPLastsAsLongAsTheImport(t *testing.T) {
	s := newStore(t, backend("east-1@us-east/a h"))
	s.settle(t)
	s.in.Facts.Service = nil // somebody deleted it
	s.settle(t)
	if got := s.in.Facts.Service.Spec.ClusterIP; got != "172.20.0.1" {
		t.Errorf("expected the Service to ask for 172.20.0.1 again, found %s", got)
	}
	s.in.Facts.Service, s.in.Facts.IPsTaken = nil, true
	s.settle(t)
	if got := s.in.Facts.Import.Spec.IPs; !slices.Equal(got, []string{"172.20.0.2"}) {
		t.Errorf("if it cannot have it: expected another, found %v", got)
	}
}

func TestKEP1645PortsAreUnitedAndTrafficGoesOnlyToExportersThatExposeThem(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a h"), withPorts(backend("west-2@us-west/a h"), http, metrics))
	s.settle(t)
	if got := s.in.Facts.Import.Spec.Ports; len(got) != 2 || got[0].Name != "http" || got[1].Name != "metrics" || got[1].Port != 9090 {
		t.Fatalf("expected http and metrics, found %+v", got)
	}
	got := map[string]int32{}
	for _, slice := range s.in.Facts.Slices {
		for _, p := range slice.Ports {
			got[slice.Labels[mcsv1beta1.LabelSourceCluster]+" "+*p.Name] = *p.Port
		}
	}
	if want := map[string]int32{"west-1 http": 8080, "west-2 http": 8080, "west-2 metrics": 9090}; !maps.Equal(got, want) {
		t.Errorf("expected the ports %v, found %v", want, got)
	}
}

func TestKEP1645APortIsServedByTheNearestClusterThatExposesIt(t *testing.T) {
	moved := catalog.Port{Name: "http", Protocol: catalog.TCP, Number: 8000}
	renamed := catalog.Port{Name: "web", Protocol: catalog.TCP, Number: 80}
	for name, tt := range map[string]struct {
		mine, other catalog.Backend
		want        map[string][]string // clusters by port
	}{
		"the same":                {backend("west-1@us-west/a h"), backend("east-1@us-east/a h"), map[string][]string{"http": {"west-1"}}},
		"one more elsewhere":      {backend("west-1@us-west/a h"), withPorts(backend("east-1@us-east/a h"), http, metrics), map[string][]string{"http": {"west-1"}, "metrics": {"east-1"}}},
		"one more here":           {withPorts(backend("west-1@us-west/a h"), http, metrics), backend("east-1@us-east/a h"), map[string][]string{"http": {"west-1"}, "metrics": {"west-1"}}},
		"another number here":     {withPorts(backend("west-1@us-west/a h"), moved), older(backend("east-1@us-east/a h")), map[string][]string{"http": {"east-1"}}},
		"another name here":       {withPorts(backend("west-1@us-west/a h"), renamed), older(backend("east-1@us-east/a h")), map[string][]string{"http": {"west-1"}}},
		"the nearest is not well": {withPorts(backend("west-1@us-west/a u"), http, metrics), backend("east-1@us-east/a h"), map[string][]string{"http": {"east-1"}, "metrics": {"west-1"}}},
	} {
		s := newStore(t, tt.mine, tt.other)
		s.settle(t)
		got := map[string][]string{}
		for _, slice := range s.in.Facts.Slices {
			if !slices.ContainsFunc(slice.Endpoints, func(e discoveryv1.Endpoint) bool { return *e.Conditions.Ready }) {
				continue
			}
			for _, p := range slice.Ports {
				got[*p.Name] = append(got[*p.Name], slice.Labels[mcsv1beta1.LabelSourceCluster])
			}
		}
		if !maps.EqualFunc(got, tt.want, slices.Equal) {
			t.Errorf("%s: expected %v, found %v", name, tt.want, got)
		}
		if p := s.settle(t); len(p.Writes) != 0 {
			t.Errorf("%s: expected nothing more to write, found %d", name, len(p.Writes))
		}
	}
}

// six adds an IPv6 endpoint.
func six(b catalog.Backend) catalog.Backend {
	e := b.Set.Endpoints[0]
	e.ID, e.Address = e.ID+"-six", mustSix(1)
	b.Set.Endpoints, b.Health = append(b.Set.Endpoints, e), append(b.Health, catalog.Healthy)
	return b
}

func TestKEP1645AConflictIsDecidedByTheOldestExportAndReportedOnAll(t *testing.T) {
	renamed := catalog.Port{Name: "web", Protocol: catalog.TCP, Number: 80}
	spoken := http
	spoken.AppProtocol = "kubernetes.io/h2c"
	moved := catalog.Port{Name: "http", Protocol: catalog.TCP, Number: 8000}
	sticky, longer := map[string]uint32{"west-1": 60}, map[string]uint32{"west-1": 60, "east-1": 10800}
	for name, tt := range map[string]struct {
		mine, other catalog.Backend
		affinity    map[string]uint32 // in seconds, by cluster
		status      metav1.ConditionStatus
		reason      string
		says        string
	}{
		"none":             {mine: older(backend("west-1@us-west/a h")), other: backend("east-1@us-east/a h"), status: "False", reason: "NoConflicts"},
		"a union":          {mine: older(backend("west-1@us-west/a h")), other: withPorts(backend("east-1@us-east/a h"), http, metrics), status: "True", reason: "PortConflict", says: "1 of 2"},
		"app protocol":     {mine: older(backend("west-1@us-west/a h")), other: withPorts(backend("east-1@us-east/a h"), spoken), status: "True", reason: "PortConflict", says: "1 of 2"},
		"port name":        {mine: older(backend("west-1@us-west/a h")), other: withPorts(backend("east-1@us-east/a h"), renamed), status: "True", reason: "PortConflict", says: "1 of 2"},
		"port number":      {mine: backend("west-1@us-west/a h"), other: older(withPorts(backend("east-1@us-east/a h"), moved)), status: "True", reason: "PortConflict", says: "1 of 2"},
		"type, we lose":    {mine: backend("west-1@us-west/a h"), other: older(headless(backend("east-1@us-east/a h"))), status: "True", reason: "TypeConflict", says: "Headless, from the oldest export, of cluster east-1; 1 of 2"},
		"type, we win":     {mine: older(backend("west-1@us-west/a h")), other: headless(backend("east-1@us-east/a h")), status: "True", reason: "TypeConflict", says: "ClusterSetIP, from the oldest export, of cluster west-1"},
		"session affinity": {mine: older(backend("west-1@us-west/a h")), other: backend("east-1@us-east/a h"), affinity: sticky, status: "True", reason: "SessionAffinityConflict", says: "ClientIP"},
		"affinity config":  {mine: older(backend("west-1@us-west/a h")), other: backend("east-1@us-east/a h"), affinity: longer, status: "True", reason: "SessionAffinityConfigConflict", says: "60 s"},
		"labels":           {mine: older(backend("west-1@us-west/a h")), other: saying(backend("east-1@us-east/a h"), catalog.Properties{Labels: map[string]string{"team": "pay"}}), status: "True", reason: "LabelsConflict", says: "exported labels: those of the oldest export, of cluster west-1; 1 of 2"},
		"annotations":      {mine: older(backend("west-1@us-west/a h")), other: saying(backend("east-1@us-east/a h"), catalog.Properties{Annotations: map[string]string{"tier": "1"}}), status: "True", reason: "AnnotationsConflict", says: "1 of 2"},
		"traffic policy":   {mine: backend("west-1@us-west/a h"), other: older(saying(backend("east-1@us-east/a h"), catalog.Properties{NodeLocal: true})), status: "True", reason: "InternalTrafficPolicyConflict", says: "internal traffic policy: Local, from the oldest export, of cluster east-1; 1 of 2"},
		"distribution":     {mine: older(backend("west-1@us-west/a h")), other: saying(backend("east-1@us-east/a h"), catalog.Properties{TrafficDistribution: "PreferClose"}), status: "True", reason: "TrafficDistributionConflict", says: "traffic distribution: none, from the oldest export, of cluster west-1; 1 of 2"},
		"families":         {mine: older(backend("west-1@us-west/a h")), other: six(backend("east-1@us-east/a h")), status: "True", reason: "IPFamilyConflict", says: "1 of 2"},
		"no endpoints":     {mine: older(backend("west-1@us-west/a h")), other: backend("east-1@us-east/a "), status: "False", reason: "NoConflicts"},
		"two": {
			mine: older(backend("west-1@us-west/a h")), other: headless(withPorts(backend("east-1@us-east/a h"), renamed)),
			status: "True", reason: "PortConflict,TypeConflict", says: "1 of 2",
		},
		"all but type": {
			mine: older(backend("west-1@us-west/a h")), affinity: sticky, status: "True", says: "1 of 2",
			other: saying(six(withPorts(backend("east-1@us-east/a h"), renamed)), catalog.Properties{
				Labels: map[string]string{"team": "pay"}, Annotations: map[string]string{"tier": "1"}, NodeLocal: true, TrafficDistribution: "PreferClose",
			}),
			reason: "PortConflict,SessionAffinityConflict,LabelsConflict,AnnotationsConflict,InternalTrafficPolicyConflict,TrafficDistributionConflict,IPFamilyConflict",
		},
	} {
		for _, b := range []catalog.Backend{tt.mine, tt.other} {
			b.Set.AffinitySeconds = tt.affinity[b.Set.Cluster]
		}
		s := newStore(t, tt.mine, tt.other)
		s.in.Verdict = &Verdict{Valid: true}
		s.in.Facts.Export = &mcsv1beta1.ServiceExport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout", Generation: 3}}
		s.settle(t)
		c := find(t, s.in.Facts.Export.Status.Conditions, "Conflict")
		if c.Status != tt.status || c.Reason != tt.reason || !strings.Contains(c.Message, tt.says) || c.ObservedGeneration != 3 {
			t.Errorf("%s: expected %s, %s, %q, found %+v", name, tt.status, tt.reason, tt.says, c)
		}
	}
}

func TestKEP1645TheOldestExportDecidesTypeAndSessionAffinity(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a h"), older(headless(backend("east-1@us-east/a h"))))
	s.settle(t)
	if i := s.in.Facts.Import; i.Spec.Type != mcsv1beta1.Headless || len(i.Spec.IPs) != 0 || s.in.Facts.Service.Spec.ClusterIP != "None" {
		t.Errorf("expected a headless import without an IP, found %+v", i.Spec)
	}
	mine := older(backend("west-1@us-west/a h"))
	mine.Set.AffinitySeconds = 10800
	s = newStore(t, mine, backend("east-1@us-east/a h"))
	s.settle(t)
	for what, got := range map[string]corev1.ServiceAffinity{
		"import": s.in.Facts.Import.Spec.SessionAffinity, "derived Service": s.in.Facts.Service.Spec.SessionAffinity,
	} {
		if got != corev1.ServiceAffinityClientIP {
			t.Errorf("%s: expected ClientIP, found %q", what, got)
		}
	}
	if got := *s.in.Facts.Service.Spec.SessionAffinityConfig.ClientIP.TimeoutSeconds; got != 10800 {
		t.Errorf("expected 10800 s, found %d", got)
	}
}

func TestKEP1645AServiceThatCannotBeExportedMakesTheExportInvalid(t *testing.T) {
	for name, tt := range map[string]struct {
		verdict        Verdict
		valid, ready   metav1.ConditionStatus
		reason, ready2 string
	}{
		"ExternalName": {Verdict{Reason: "InvalidServiceType", Message: "ExternalName"}, "False", "False", "InvalidServiceType", "Failed"},
		"no Service":   {Verdict{Reason: "NoService", Message: "none"}, "False", "False", "NoService", "Failed"},
		"by a rule":    {Verdict{Valid: true, Refused: "rule shops: only west-1"}, "True", "False", "Valid", "ExportRefused"},
		"not yet":      {Verdict{Valid: true}, "True", "False", "Valid", "Pending"},
	} {
		s := newStore(t)
		s.in.Verdict = &tt.verdict
		s.in.Facts.Export = &mcsv1beta1.ServiceExport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}}
		s.settle(t)
		conditions := s.in.Facts.Export.Status.Conditions
		valid, ready := find(t, conditions, "Valid"), find(t, conditions, "Ready")
		if valid.Status != tt.valid || valid.Reason != tt.reason || ready.Status != tt.ready || ready.Reason != tt.ready2 {
			t.Errorf("%s: expected Valid=%s %s and Ready=%s %s, found %+v", name, tt.valid, tt.reason, tt.ready, tt.ready2, conditions)
		}
		if slices.ContainsFunc(conditions, func(c metav1.Condition) bool { return c.Type == "Conflict" }) {
			t.Errorf("%s: expected no Conflict where nothing is exported, found %+v", name, conditions)
		}
	}
}

func TestKEP1645ATransitionIsWhenTheStatusChanged(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a h"))
	s.in.Verdict = &Verdict{Valid: true}
	s.in.Facts.Export = &mcsv1beta1.ServiceExport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}}
	s.settle(t)
	s.in.Now = metav1.NewTime(start.Add(time.Hour))
	s.in.Facts.Export.Generation = 2
	s.settle(t)
	ready := find(t, s.in.Facts.Export.Status.Conditions, "Ready")
	if !ready.LastTransitionTime.Time.Equal(start) || ready.ObservedGeneration != 2 || ready.Reason != "Exported" {
		t.Errorf("a new generation of the same status: expected the time of the transition, found %+v", ready)
	}
	s.in.Verdict.Refused = "no rule allows it"
	s.settle(t)
	ready = find(t, s.in.Facts.Export.Status.Conditions, "Ready")
	if !ready.LastTransitionTime.Time.Equal(start.Add(time.Hour)) {
		t.Errorf("another status: expected its time, found %+v", ready)
	}
}

func TestKEP1645AHeadlessImportListsEveryReadyEndpointWithItsHostname(t *testing.T) {
	s := newStore(t, headless(backend("west-1@us-west/a hhu")), headless(backend("east-1@us-east/a hh")))
	s.settle(t)
	if got := s.perCluster(); got["west-1"] != 2 || got["east-1"] != 2 {
		t.Errorf("expected the ready endpoints of both, near or not, found %v", got)
	}
	for _, slice := range s.in.Facts.Slices {
		if _, ok := slice.Labels[corev1.IsHeadlessService]; !ok {
			t.Errorf("slice %s: expected the label that keeps kube-proxy out of it", slice.Name)
		}
		for _, e := range slice.Endpoints {
			if value(e.Hostname) == "" {
				t.Errorf("slice %s: expected a hostname for %v", slice.Name, e.Addresses)
			}
		}
	}
}

func TestKEP1645SlicesAreOfOneAddressFamilyEach(t *testing.T) {
	b := headless(backend("west-1@us-west/a hh"))
	six := backend("west-6@us-west/a hh").Set.Endpoints
	for i := range six {
		six[i].ID += "-six"
		six[i].Address = mustSix(i)
	}
	b.Set.Endpoints = append(b.Set.Endpoints, six...)
	b.Health = append(b.Health, catalog.Healthy, catalog.Healthy)
	s := newStore(t, b)
	s.settle(t)
	var got []discoveryv1.AddressType
	for _, slice := range s.in.Facts.Slices {
		got = append(got, slice.AddressType)
		for _, e := range slice.Endpoints {
			if strings.Contains(e.Addresses[0], ":") != (slice.AddressType == discoveryv1.AddressTypeIPv6) {
				t.Errorf("slice %s is of %s and lists %v", slice.Name, slice.AddressType, e.Addresses)
			}
		}
	}
	if slices.Sort(got); !slices.Equal(got, []discoveryv1.AddressType{"IPv4", "IPv6"}) {
		t.Errorf("expected a slice of each family, found %v", got)
	}
}
