package imports

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// These tests run against client-go's fake clientsets (server_test.go says what was
// added to them) on a clock that jumps, so that leases and pauses take no time.

// pass lets time pass, and everything that is due happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAnExportedServiceIsImportedAndFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		w.export(t, backend("west-1@us-west/a hh"), backend("east-1@us-east/a hhh"))
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(5 * time.Second)
		i := s.serviceImport(t)
		if i == nil || !slices.Equal(i.Spec.IPs, []string{"172.20.0.1"}) || find(t, i.Status.Conditions, "Ready").Status != metav1.ConditionTrue {
			t.Fatalf("expected a ready import at 172.20.0.1, found %+v", i)
		}
		if got := s.ready(t); !slices.Equal(got, []string{"west-1", "west-1"}) {
			t.Errorf("expected two endpoints of west-1, found %v", got)
		}
		s.forget()
		w.export(t, backend("west-1@us-west/a uu"), backend("east-1@us-east/a hhh"))
		pass(20 * time.Millisecond)
		if got := s.ready(t); !slices.Equal(got, []string{"east-1", "east-1", "east-1"}) {
			t.Errorf("20 ms after the region failed: expected three endpoints of east-1, found %v, %v", got, s.written())
		}
		if got := s.reasons(t); !slices.Contains(got, "ServiceImport Imported") {
			t.Errorf("expected an Event Imported, found %v", got)
		}
	})
}

func TestTheIPIsToldOnlyOnceTheEndpointsAreInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		s.set(func(s *server) {
			s.refusing = func(verb, resource, name string) error {
				if resource == "endpointslices" {
					return apierrors.NewForbidden(corev1.Resource(resource), name, errors.New("no rule"))
				}
				return nil
			}
		})
		w.export(t, backend("west-1@us-west/a hh"))
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(5 * time.Second)
		if got := r.vips.Lookup(checkout); len(got) != 0 {
			t.Errorf("without endpoints: expected no IP, found %v", got)
		}
		s.set(func(s *server) { s.refusing = nil })
		pass(time.Minute)
		if got := r.vips.Lookup(checkout); len(got) != 1 || got[0] != addr("172.20.0.1") {
			t.Errorf("with endpoints: expected 172.20.0.1, found %v", got)
		}
	})
}

func TestANewWriterWritesNothingWhenNothingChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		s.create(t, &mcsv1beta1.ServiceExport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}})
		w.export(t, backend("west-1@us-west/a hhu"), backend("east-1@us-east/a hhh"))
		one := s.start(t, "replica-0", w.Catalog)
		pass(5 * time.Second)
		one.stop()
		if got := s.written(); len(got) < 5 {
			t.Fatalf("expected the first writer to have written, found %v", got)
		}
		s.forget()
		two := s.start(t, "replica-1", w.Catalog)
		defer two.stop()
		pass(time.Minute)
		if !two.Leading() {
			t.Fatal("expected the second replica to be the writer")
		}
		if got := s.written(); len(got) != 0 {
			t.Errorf("expected no writes, found %v", got)
		}
	})
}

func TestAWriterThatStartsWaitsUntilItKnowsWhatDecidesThePlans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		w.export(t, backend("west-1@us-west/a hh /b hh"))
		zones := map[string]int{"a": 3, "b": 3}
		one := s.start(t, "replica-0", w.Catalog, func(c *Config) { c.Zones = func() map[string]int { return zones } })
		pass(5 * time.Second)
		one.stop()
		if got := s.slices(t); len(got) != 1 || got[0].Endpoints[0].Hints == nil {
			t.Fatalf("expected a slice with hints, found %+v", got)
		}
		s.forget()
		begun := time.Now()
		counted := func() map[string]int {
			if time.Since(begun) < time.Second {
				return nil
			}
			return zones
		}
		two := s.start(t, "replica-1", w.Catalog, func(c *Config) {
			c.Zones, c.Settled = counted, func() bool { return counted() != nil }
		})
		pass(10 * time.Second)
		if got := s.written(); !two.Leading() || len(got) != 0 {
			t.Errorf("with the nodes known after a second: expected a writer that writes nothing, found %v and %v", two.Leading(), got)
		}
		two.stop()
		three := s.start(t, "replica-2", w.Catalog, func(c *Config) { c.Settled = func() bool { return false } })
		defer three.stop()
		pass(settling + time.Second)
		if !three.Leading() {
			t.Errorf("with the nodes never known: expected a writer after %v, found none", settling)
		}
	})
}

func TestOneReplicaWritesAndTheNextTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		one := s.start(t, "replica-0", w.Catalog)
		pass(5 * time.Second)
		two := s.start(t, "replica-1", w.Catalog)
		defer two.stop()
		pass(5 * time.Second)
		if !one.Leading() || two.Leading() {
			t.Fatalf("expected the first to lead and the second not, found %v and %v", one.Leading(), two.Leading())
		}
		w.export(t, backend("west-1@us-west/a hh"))
		pass(time.Second)
		if got := two.vips.Lookup(checkout); len(got) != 1 || got[0] != addr("172.20.0.1") {
			t.Errorf("expected the second to know the clusterset IP too, found %v", got)
		}
		one.stop()
		pass(5 * time.Second)
		if !two.Leading() {
			t.Error("expected the second to lead once the first has given up the Lease")
		}
	})
}

func TestNothingIsWrittenWithoutTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		w.export(t, backend("west-1@us-west/a hh"))
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(5 * time.Second)
		s.set(func(s *server) {
			s.refusing = func(_, resource, _ string) error {
				if resource == "leases" {
					return apierrors.NewForbidden(corev1.Resource(resource), LeaseName, errors.New("no longer granted"))
				}
				return nil
			}
		})
		pass(20 * time.Second) // over the renewal deadline
		s.forget()
		w.export(t, backend("west-1@us-west/a h"))
		pass(time.Minute)
		if got := s.written(); r.Leading() || len(got) != 0 {
			t.Errorf("expected no writer and no writes, found %v and %v", r.Leading(), got)
		}
	})
}

func TestAfterTheAPIServerWasAwayEverythingIsCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		w.export(t, backend("west-1@us-west/a hh"))
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(5 * time.Second)
		s.set(func(s *server) { s.away = true })
		pass(30 * time.Second)
		if since := r.StaleSince(); since.IsZero() || time.Since(since) < 25*time.Second {
			t.Errorf("expected to be stale since 30 s ago, found %v", since)
		}
		w.export(t, backend("west-1@us-west/a hhhh"))
		pass(30 * time.Second)
		if got := r.vips.Lookup(checkout); len(got) != 1 {
			t.Errorf("expected the clusterset IP to stay known, found %v", got)
		}
		s.set(func(s *server) { s.away = false })
		pass(time.Minute)
		if got := s.ready(t); len(got) != 4 || !r.StaleSince().IsZero() {
			t.Errorf("expected four endpoints and nothing stale, found %v and %v", got, r.StaleSince())
		}
	})
}

func TestAWriteThatIsLostIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		w.export(t, backend("west-1@us-west/a hh"))
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(5 * time.Second)
		s.set(func(s *server) { s.losing = true })
		w.export(t, backend("west-1@us-west/a hhhh"))
		pass(time.Second)
		s.set(func(s *server) { s.losing = false })
		if got := s.ready(t); len(got) != 2 {
			t.Fatalf("the write was not lost, found %v", got)
		}
		pass(2 * echoLife)
		if got := s.ready(t); len(got) != 4 {
			t.Errorf("expected four endpoints, found %v", got)
		}
	})
}

func TestAnObjectThatIsDeletedAsSoonAsItIsMadeIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		services := corev1.SchemeGroupVersion.WithResource("services")
		watch, err := s.core.Tracker().Watch(services, "shop")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			<-watch.ResultChan()
			watch.Stop()
			_ = s.core.Tracker().Delete(services, "shop", DerivedName(checkout))
		}()
		w.export(t, backend("west-1@us-west/a hh"))
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(time.Second)
		made := 0
		for _, write := range s.written() {
			made += btoi(write == "create services "+DerivedName(checkout))
		}
		if _, err := s.core.CoreV1().Services("shop").Get(t.Context(), DerivedName(checkout), metav1.GetOptions{}); err != nil || made != 2 {
			t.Errorf("expected the Service made twice within a second, found it made %d times, %v", made, err)
		}
	})
}

func TestWhatIsLeftOfAnImportIsCollected(t *testing.T) {
	for _, gc := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s, w := newServer(t), newWorld()
			s.noGC = !gc
			w.export(t, backend("west-1@us-west/a hh"), backend("west-2@us-west/a h")) // one region: it withdraws both at once
			r := s.start(t, "replica-0", w.Catalog)
			defer r.stop()
			pass(5 * time.Second)
			s.forget()
			w.export(t)
			pass(gonePause / 2)
			if got := s.written(); s.serviceImport(t) != nil || len(got) != 1 {
				t.Errorf("expected the import deleted and nothing else, found %v", got)
			}
			pass(gonePause)
			services, err := s.core.CoreV1().Services("shop").List(context.Background(), metav1.ListOptions{})
			if err != nil || len(services.Items) != 0 || len(s.slices(t)) != 0 {
				t.Errorf("garbage collection %v: expected nothing left, found %d Services and %d slices", gc, len(services.Items), len(s.slices(t)))
			}
		})
	}
}

func TestForeignObjectsAreNeverWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		s.create(t, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: DerivedName(checkout)}})
		w.export(t, backend("west-1@us-west/a hh"))
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(time.Minute)
		for _, write := range s.written() {
			if strings.Contains(write, "services "+DerivedName(checkout)) || strings.Contains(write, "endpointslices") {
				t.Errorf("expected nothing about the foreign Service, found %q", write)
			}
		}
		if got := s.reasons(t); !slices.Contains(got, "ServiceImport ForeignObject") {
			t.Errorf("expected an Event, found %v", got)
		}
		if got := gauges(t, r)["federator_kube_import_foreign_objects"]; got != 1 {
			t.Errorf("expected one foreign object in the metrics, found %v", got)
		}
	})
}

func TestExportsGetConditionsAndKeepThoseOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		s.create(t, &mcsv1beta1.ServiceExport{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"},
			Status:     mcsv1beta1.ServiceExportStatus{Conditions: []metav1.Condition{{Type: "Theirs", Status: "True", Reason: "Any"}}},
		})
		var refused string
		r := s.start(t, "replica-0", w.Catalog, func(c *Config) {
			c.Verdict = func(catalog.ServiceName) *Verdict { return &Verdict{Valid: true, Refused: refused} }
		})
		defer r.stop()
		status := func() []metav1.Condition {
			x, err := s.mcs.MulticlusterV1beta1().ServiceExports("shop").Get(context.Background(), "checkout", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return x.Status.Conditions
		}
		pass(5 * time.Second)
		if c := find(t, status(), "Ready"); c.Reason != "Pending" {
			t.Errorf("expected Pending, found %+v", c)
		}
		w.export(t, backend("west-1@us-west/a hh"))
		pass(5 * time.Second)
		if c := find(t, status(), "Ready"); c.Reason != "Exported" || find(t, status(), "Theirs").Status != "True" {
			t.Errorf("expected Exported beside what others wrote, found %+v", status())
		}
		refused = "rule shops allows east-1 only"
		r.Look(checkout)
		pass(5 * time.Second)
		if c := find(t, status(), "Ready"); c.Reason != ReasonExportRefused {
			t.Errorf("expected %s, found %+v", ReasonExportRefused, c)
		}
		want := []string{"ServiceExport ExportRefused", "ServiceExport Exported", "ServiceImport Imported"}
		if got := s.reasons(t); !slices.Equal(got, want) {
			t.Errorf("expected Events %v, found %v", want, got)
		}
	})
}

func TestNoticesBecomeEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		w.export(t, backend("east-1@us-east/a h"))
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(5 * time.Second)
		r.notices <- Notice{Reason: "DrillStarted", Message: "us-east is drilled"}
		r.notices <- Notice{Service: checkout, Warning: true, Reason: "LinkLost", Message: "us-east is silent"}
		pass(5 * time.Second)
		if got, want := s.reasons(t), []string{"Lease DrillStarted", "ServiceImport Imported", "ServiceImport LinkLost"}; !slices.Equal(got, want) {
			t.Errorf("expected %v, found %v", want, got)
		}
	})
}

func gauges(t testing.TB, r *replica) map[string]float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[f.GetName()] += m.GetGauge().GetValue()
		}
	}
	return out
}
