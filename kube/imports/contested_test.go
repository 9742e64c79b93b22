package imports

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

// What others do in a cluster to objects of ours, again and again.
func strips(change func(runtime.Object)) func(*server) func() {
	return func(s *server) func() {
		s.set(func(s *server) { s.admits = change })
		return func() { s.set(func(s *server) { s.admits = nil }) }
	}
}

func deletes(remove func(*server)) func(*server) func() {
	return func(s *server) func() {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for ctx.Err() == nil {
				remove(s)
				time.Sleep(10 * time.Millisecond)
			}
		}()
		return func() { cancel(); <-ended }
	}
}

// sticky exports endpoints in these states, of a service with session affinity.
func sticky(t testing.TB, w *world, states string) {
	b := backend("west-1@us-west/a " + states)
	b.Set.AffinitySeconds = 600
	w.export(t, b)
}

func TestWhatIsAlwaysChangedBackIsWrittenLessAndLessOften(t *testing.T) {
	for name, tt := range map[string]struct {
		interfere func(*server) func()
		object    string
	}{
		"an admission webhook strips a field of the Service": {strips(func(o runtime.Object) {
			if s, ok := o.(*corev1.Service); ok {
				s.Spec.SessionAffinity, s.Spec.SessionAffinityConfig = corev1.ServiceAffinityNone, nil
			}
		}), "Service shop/" + DerivedName(checkout)},
		"one changes the ServiceImport": {strips(func(o runtime.Object) {
			if i, ok := o.(*mcsv1beta1.ServiceImport); ok {
				i.Spec.Ports = nil
			}
		}), "ServiceImport shop/checkout"},
		"one changes its status": {strips(func(o runtime.Object) {
			if i, ok := o.(*mcsv1beta1.ServiceImport); ok {
				i.Status.Clusters = nil
			}
		}), "ServiceImport shop/checkout"},
		"a controller deletes the Service": {deletes(func(s *server) {
			_ = s.core.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("services"), "shop", DerivedName(checkout))
		}), "Service shop/" + DerivedName(checkout)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, w := newServer(t), newWorld()
				stop := tt.interfere(s)
				sticky(t, w, "hh")
				r := s.start(t, "replica-0", w.Catalog)
				defer r.stop()
				pass(time.Minute)
				s.forget()
				pass(3 * time.Minute)
				if n := len(s.written()); n == 0 || n > 40 {
					t.Errorf("expected some writes in the next three minutes, and not more than 40, found %d", n)
				}
				if got := r.Status().Contested; !slices.Equal(got, []string{tt.object}) {
					t.Errorf("expected %q told as contested, found %q", tt.object, got)
				}
				if got := gauges(t, r)["federator_kube_import_contested_objects"]; got != 1 {
					t.Errorf("expected one contested object in the metrics, found %v", got)
				}
				if got := s.reasons(t); !slices.Contains(got, "ServiceImport ChangedBack") {
					t.Errorf("expected an Event ChangedBack, found %v", got)
				}
				stop()
				s.forget()
				pass(lastContest)
				if n := len(s.written()); n == 0 || n > 5 || len(r.Status().Contested) != 0 {
					t.Errorf("once nothing interferes any more: expected the object written and nothing contested, found %q and %q", s.written(), r.Status().Contested)
				}
			})
		})
	}
}

func TestWhatIsContestedDoesNotKeepEndpointsFromBeingWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		s.set(func(s *server) {
			s.admits = func(o runtime.Object) {
				switch o := o.(type) {
				case *corev1.Service:
					o.Spec.SessionAffinity, o.Spec.SessionAffinityConfig = corev1.ServiceAffinityNone, nil
				case *discoveryv1.EndpointSlice:
					for i := range o.Endpoints {
						o.Endpoints[i].Zone = nil
					}
				}
			}
		})
		sticky(t, w, "hh")
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(time.Minute)
		if n := len(r.Status().Contested); n != 2 {
			t.Fatalf("expected a Service and a slice that are contested, found %q", r.Status().Contested)
		}
		for _, states := range []string{"hu", "hh", "uh", "hh"} {
			sticky(t, w, states)
			pass(20 * time.Millisecond)
			want := 0
			for _, state := range states {
				want += btoi(state == 'h')
			}
			if got := s.ready(t); len(got) != want {
				t.Errorf("20 ms after the endpoints became %s: expected %d ready, found %v", states, want, got)
			}
		}
	})
}

func TestWhatChangesByItselfIsNotContested(t *testing.T) {
	west, east := "west-1@us-west/a hh", "east-1@us-east/a hh"
	for name, step := range map[string]func(t *testing.T, s *server, w *world, even bool){
		"a region comes and goes": func(t *testing.T, _ *server, w *world, even bool) {
			w.export(t, backend([]string{west, "west-1@us-west/a uu"}[btoi(even)]), backend(east))
		},
		"an exporter comes and goes": func(t *testing.T, _ *server, w *world, even bool) {
			w.export(t, []catalog.Backend{backend(west), backend(east)}[:2-btoi(even)]...)
		},
		"the service comes and goes": func(t *testing.T, _ *server, w *world, even bool) {
			w.export(t, []catalog.Backend{backend(west), backend(east)}[:2*(1-btoi(even))]...)
		},
		"exported labels change": func(t *testing.T, _ *server, w *world, even bool) {
			w.export(t, saying(backend(west), catalog.Properties{Labels: map[string]string{"team": []string{"a", "b"}[btoi(even)]}}))
		},
		"a user makes the export anew": func(t *testing.T, s *server, _ *world, even bool) {
			exports, export := mcsv1beta1.SchemeGroupVersion.WithResource("serviceexports"), &mcsv1beta1.ServiceExport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}}
			if !even {
				if _, err := s.mcs.MulticlusterV1beta1().ServiceExports("shop").Create(t.Context(), export, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			} else if err := s.mcs.Tracker().Delete(exports, "shop", "checkout"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, w := newServer(t), newWorld()
				w.export(t, backend(west), backend(east))
				r := s.start(t, "replica-0", w.Catalog)
				defer r.stop()
				pass(5 * time.Second)
				s.forget()
				for i := range 4 * freeRepeats {
					step(t, s, w, i%2 == 1)
					pass(gonePause + time.Second)
					if got := r.Status().Contested; len(got) != 0 {
						t.Fatalf("step %d: expected nothing contested, found %q", i, got)
					}
				}
				if n := len(s.written()); n < 2*freeRepeats {
					t.Errorf("expected writes at every second step at least, found %d", n)
				}
			})
		})
	}
}
