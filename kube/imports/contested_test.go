package imports

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

var (
	servicesResource = corev1.SchemeGroupVersion.WithResource("services")
	importsResource  = mcsv1beta1.SchemeGroupVersion.WithResource("serviceimports")
	exportsResource  = mcsv1beta1.SchemeGroupVersion.WithResource("serviceexports")
)

// webhook is an admission webhook that changes what is written.
func webhook(change func(runtime.Object)) func(*server) (stop func()) {
	return func(s *server) func() {
		s.set(func(s *server) { s.admits = change })
		return func() { s.set(func(s *server) { s.admits = nil }) }
	}
}

// controller is another controller, which acts a hundred times a second.
func controller(act func(*server)) func(*server) (stop func()) {
	return func(s *server) func() {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for ctx.Err() == nil {
				act(s)
				time.Sleep(10 * time.Millisecond)
			}
		}()
		return func() { cancel(); <-ended }
	}
}

// sticky exports endpoints in these states, of a service with session affinity.
func sticky(t testing.TB, w *world, states string) {
	t.Helper()
	b := backend("west-1@us-west/a " + states)
	b.Set.AffinitySeconds = 600
	w.export(t, b)
}

func unstick(o runtime.Object) {
	if s, ok := o.(*corev1.Service); ok {
		s.Spec.SessionAffinity, s.Spec.SessionAffinityConfig = corev1.ServiceAffinityNone, nil
	}
}

func TestWhatIsAlwaysChangedBackIsWrittenLessAndLessOften(t *testing.T) {
	derived, theImport := "Service shop/"+DerivedName(checkout), "ServiceImport shop/checkout"
	for name, tt := range map[string]struct {
		interfere func(*server) (stop func())
		object    string // that is told; of slices any
		absent    bool   // so that there is nothing to have an Event
	}{
		"a webhook strips a field of the Service": {webhook(unstick), derived, false},
		"a webhook changes the ServiceImport": {webhook(func(o runtime.Object) {
			if i, ok := o.(*mcsv1beta1.ServiceImport); ok {
				i.Spec.Ports = nil
			}
		}), theImport, false},
		"a webhook changes its status": {webhook(func(o runtime.Object) {
			if i, ok := o.(*mcsv1beta1.ServiceImport); ok {
				i.Status.Clusters = nil
			}
		}), theImport, false},
		"a webhook strips a label by which slices are known": {webhook(func(o runtime.Object) {
			if s, ok := o.(*discoveryv1.EndpointSlice); ok {
				delete(s.Labels, mcsv1beta1.LabelSourceCluster)
			}
		}), "EndpointSlice shop/", false},
		"a webhook takes an endpoint out, always another one": {webhook(func(o runtime.Object) {
			if s, ok := o.(*discoveryv1.EndpointSlice); ok && len(s.Endpoints) > 1 {
				s.Endpoints = s.Endpoints[1:]
			}
		}), "EndpointSlice shop/", false},
		"a controller deletes the Service": {controller(func(s *server) {
			_ = s.core.Tracker().Delete(servicesResource, "shop", DerivedName(checkout))
		}), derived, false},
		"a controller deletes the ServiceImport": {controller(func(s *server) {
			_ = s.mcs.Tracker().Delete(importsResource, "shop", "checkout")
		}), theImport, true},
		"a controller writes the conditions of the export": {controller(func(s *server) {
			s.set(func(s *server) {
				object, err := s.mcs.Tracker().Get(exportsResource, "shop", "checkout")
				if err != nil {
					return
				}
				next := object.(*mcsv1beta1.ServiceExport).DeepCopy()
				if meta.SetStatusCondition(&next.Status.Conditions, metav1.Condition{Type: "Ready", Status: "False", Reason: "Theirs"}) {
					s.version++
					next.ResourceVersion = strings.Repeat("9", 3) + next.ResourceVersion
					_ = s.mcs.Tracker().Update(exportsResource, next, "shop")
				}
			})
		}), "ServiceExport shop/checkout", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, w := newServer(t), newWorld()
				s.create(t, &mcsv1beta1.ServiceExport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}})
				stop := tt.interfere(s)
				sticky(t, w, "hh")
				r := s.start(t, "replica-0", w.Catalog)
				defer r.stop()
				pass(2 * time.Minute)
				s.forget()
				pass(3 * time.Minute)
				// A bout in ten seconds, of eight passes with three writes each.
				if n := len(s.written()); n == 0 || n > 18*boutPasses*3 {
					t.Errorf("expected some writes in three minutes, and not more than %d, found %d", 18*boutPasses*3, n)
				}
				if got := r.Status().Contested; !slices.ContainsFunc(got, func(o string) bool { return strings.HasPrefix(o, tt.object) }) {
					t.Errorf("expected %q told as contested, found %q", tt.object, got)
				}
				if got := gauges(t, r)["federator_kube_import_contested_services"]; got != 1 {
					t.Errorf("expected one contested service in the metrics, found %v", got)
				}
				if got := s.reasons(t); !tt.absent && !slices.ContainsFunc(got, func(e string) bool { return strings.HasSuffix(e, "ChangedBack") }) {
					t.Errorf("expected an Event ChangedBack, found %v", got)
				}
				stop()
				pass(lastPause + calm + time.Second)
				s.forget()
				r.LookAll()
				pass(time.Minute)
				if got := r.Status().Contested; len(s.written()) != 0 || len(got) != 0 || len(s.ready(t)) != 2 {
					t.Errorf("once nothing interferes any more: expected all in place and nothing contested, found %q, %q, %d endpoints", s.written(), got, len(s.ready(t)))
				}
			})
		})
	}
}

func TestWhatIsContestedDoesNotKeepEndpointsFromBeingWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		s.set(func(s *server) { s.admits = unstick })
		sticky(t, w, "hh")
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(10 * time.Minute)
		if len(r.Status().Contested) == 0 {
			t.Fatal("expected the Service to be contested")
		}
		for _, states := range []string{"hu", "hh", "uh", "hh"} {
			sticky(t, w, states)
			pass(20 * time.Millisecond)
			if got, want := len(s.ready(t)), strings.Count(states, "h"); got != want {
				t.Errorf("20 ms after the endpoints became %s: expected %d ready, found %d", states, want, got)
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
		"it becomes headless and back": func(t *testing.T, _ *server, w *world, even bool) {
			b := backend(west)
			b.Set.Headless = even
			w.export(t, b)
		},
		"exported labels change": func(t *testing.T, _ *server, w *world, even bool) {
			w.export(t, saying(backend(west), catalog.Properties{Labels: map[string]string{"team": []string{"a", "b"}[btoi(even)]}}))
		},
		"a user makes the export anew": func(t *testing.T, s *server, _ *world, even bool) {
			export := &mcsv1beta1.ServiceExport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}}
			if !even {
				if _, err := s.mcs.MulticlusterV1beta1().ServiceExports("shop").Create(t.Context(), export, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			} else if err := s.mcs.Tracker().Delete(exportsResource, "shop", "checkout"); err != nil {
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
				for i := range 4 * boutPasses {
					step(t, s, w, i%2 == 1)
					pass(gonePause + time.Second)
					for name, c := range r.leading.Load().contests.of {
						if c.bouts > 0 {
							t.Fatalf("step %d: %s: a bout of %d passes did not settle it", i, name, boutPasses)
						}
					}
				}
				if n := len(s.written()); n < 2*boutPasses {
					t.Errorf("expected writes at every second step at least, found %d", n)
				}
			})
		})
	}
}

// The rules of contests, on a clock of their own.
func TestContests(t *testing.T) {
	now := start
	k := contests{of: map[catalog.ServiceName]*contest{}}
	i := intent{service: &catalog.Service{}, conditions: &catalog.Conditions{}}
	object := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "derived-x"}}
	// plan is one pass: writes that are held are not made, and due says until when.
	plan := func(u Urgency) (held bool, due time.Duration, contested []string) {
		p := Plan{intent: i, Urgency: u, Again: true, Writes: []Write{{Verb: Update, Object: object}}}
		at := k.hold(checkout, &p, now)
		if !at.IsZero() {
			due = at.Sub(now)
		}
		if held = len(p.Writes) == 0; !held {
			k.wrote(checkout, i, now)
		}
		if held == p.Again {
			t.Errorf("held is %v and again %v", held, p.Again)
		}
		return held, due, p.Contested
	}
	// bout makes passes until one is held, and returns how many, and the pause.
	bout := func(u Urgency) (passes int, pause time.Duration) {
		for passes < 100 {
			held, due, _ := plan(u)
			if held {
				return passes, due
			}
			passes++
			now = now.Add(time.Millisecond)
		}
		t.Fatal("nothing is ever held")
		return 0, 0
	}
	for n, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		passes, pause := bout(Rest)
		if passes != boutPasses || pause != want*time.Second {
			t.Errorf("bout %d: %d passes and a pause of %v, expected %d and %d s", n, passes, pause, boutPasses, want)
		}
		if held, due, contested := plan(Dead); !held || due != min(pause, urgentPause) || (len(contested) == 1) != (n+1 >= toldAfter) {
			t.Errorf("bout %d: a more urgent plan is held %v for %v, contested %v", n, held, due, contested)
		}
		now = now.Add(pause)
	}
	i.conditions = &catalog.Conditions{}
	if passes, pause := bout(Rest); passes != boutPasses || pause != lastPause {
		t.Errorf("a new intent: %d passes and a pause of %v", passes, pause)
	}
	i.ramp = map[catalog.Locality]uint32{{Region: "us-west"}: 1}
	if held, _, _ := plan(Rest); !held {
		t.Error("a step of a ramp right after another intent begins a bout")
	}
	now = now.Add(rampPause)
	if passes, _ := bout(Rest); passes != boutPasses {
		t.Errorf("a step of a ramp later: %d passes", passes)
	}
	p := Plan{intent: i}
	if due := k.hold(checkout, &p, now); len(p.Contested) != 1 || due.Sub(now) != lastPause+calm {
		t.Errorf("nothing to write: contested %v, looked at again after %v", p.Contested, due.Sub(now))
	}
	now = now.Add(lastPause + calm)
	p = Plan{intent: i}
	if due := k.hold(checkout, &p, now); len(p.Contested) != 0 || !due.IsZero() {
		t.Errorf("calm: contested %v, looked at again after %v", p.Contested, due)
	}
	if passes, pause := bout(Rest); passes != boutPasses || pause != firstPause {
		t.Errorf("after calm: %d passes and a pause of %v", passes, pause)
	}
	for n := range 3 * boutPasses {
		now = now.Add(calm + lastPause)
		if held, _, _ := plan(Rest); held {
			t.Errorf("pass %d, each after calm, is held", n)
		}
	}
	now = now.Add(2*lastPause + 1)
	if k.prune(now); len(k.of) != 0 {
		t.Error("what is not looked at any more is not forgotten")
	}
}
