package imports

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/federation/catalog"
)

func TestKEP1645AnImportHasAnIPOfEachFamilyInWhichItIsExportedAndNoOther(t *testing.T) {
	four, six, both := catalog.Properties{IPv4: true}, catalog.Properties{IPv6: true}, catalog.Properties{IPv4: true, IPv6: true}
	none := func(p catalog.Properties) catalog.Backend { return saying(backend("east-1@us-east/a "), p) }
	some := func() catalog.Backend { return backend("east-1@us-east/a h") }
	for name, tt := range map[string]struct {
		exported []catalog.Backend
		want     []corev1.IPFamily
	}{
		"IPv4, scaled to none":                      {[]catalog.Backend{none(four)}, []corev1.IPFamily{"IPv4"}},
		"IPv6, scaled to none":                      {[]catalog.Backend{none(six)}, []corev1.IPFamily{"IPv6"}},
		"both":                                      {[]catalog.Backend{none(both)}, []corev1.IPFamily{"IPv4", "IPv6"}},
		"one of each":                               {[]catalog.Backend{none(six), saying(backend("west-1@us-west/a h"), four)}, []corev1.IPFamily{"IPv4", "IPv6"}},
		"not said, with endpoints of IPv4":          {[]catalog.Backend{some()}, []corev1.IPFamily{"IPv4"}},
		"not said, with endpoints of IPv6":          {[]catalog.Backend{overSix(some())}, []corev1.IPFamily{"IPv6"}},
		"IPv4, with endpoints of IPv6 made by hand": {[]catalog.Backend{saying(overSix(some()), four)}, []corev1.IPFamily{"IPv4", "IPv6"}},
		"nothing known":                             {[]catalog.Backend{backend("east-1@us-east/a ")}, []corev1.IPFamily{"IPv4", "IPv6"}},
	} {
		s := newStore(t, tt.exported...)
		s.dual = true
		s.settle(t)
		if i := s.in.Facts.Import; !slices.Equal(i.Spec.IPFamilies, tt.want) || len(i.Spec.IPs) != len(tt.want) {
			t.Errorf("%s: expected %v, found %v, %v", name, tt.want, i.Spec.IPFamilies, i.Spec.IPs)
		}
	}
}

func TestAnImportGetsAnIPOfAnotherFamilyOnceItIsExportedInItAndKeepsIt(t *testing.T) {
	s := newStore(t, backend("east-1@us-east/a h"))
	s.dual = true
	s.settle(t)
	was := s.in.Facts.Import.Spec.IPs
	s.exported(t, backend("east-1@us-east/a h"), overSix(backend("west-2@us-west/a h")))
	s.settle(t)
	wide := s.in.Facts.Import.Spec.IPs
	if len(was) != 1 || len(wide) != 2 || wide[0] != was[0] {
		t.Errorf("expected one more IP than %v, found %v", was, wide)
	}
	s.exported(t, backend("east-1@us-east/a h"))
	s.settle(t)
	if now := s.in.Facts.Import.Spec.IPs; !slices.Equal(now, wide) {
		t.Errorf("expected %v for the life of the import, found %v", wide, now)
	}
}

func TestAFamilyThatTheClusterHasNotIsNotAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		w.export(t, overSix(backend("east-1@us-east/a h")))
		defer s.start(t, "replica-0", w.Catalog).stop()
		pass(5 * time.Second)
		i := s.serviceImport(t)
		if i == nil || !slices.Equal(i.Spec.IPFamilies, []corev1.IPFamily{"IPv4"}) {
			t.Fatalf("expected what the cluster has, found %+v", i)
		}
		if c := find(t, i.Status.Conditions, "Ready"); c.Status != metav1.ConditionFalse || c.Reason != "IPFamilyNotSupported" {
			t.Errorf("expected Ready=False, IPFamilyNotSupported, found %+v", c)
		}
		s.forget()
		pass(time.Minute)
		if found := s.written(); len(found) > 0 {
			t.Errorf("expected no further writes, found %v", found)
		}
	})
}

// overSix is the exporter with its endpoints at addresses of IPv6.
func overSix(b catalog.Backend) catalog.Backend {
	for i := range b.Set.Endpoints {
		b.Set.Endpoints[i].Address = netip.MustParseAddr(fmt.Sprintf("fd01::%d", i+1))
	}
	return b
}
