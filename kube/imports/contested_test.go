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
		most      int    // writes in three minutes
		absent    bool   // so that there is nothing to have an Event
	}{
		"a webhook strips a field of the Service": {webhook(unstick), derived, 60, false},
		"a webhook changes the ServiceImport": {webhook(func(o runtime.Object) {
			if i, ok := o.(*mcsv1beta1.ServiceImport); ok {
				i.Spec.Ports = nil
			}
		}), theImport, 150, false},
		"a webhook changes its status": {webhook(func(o runtime.Object) {
			if i, ok := o.(*mcsv1beta1.ServiceImport); ok {
				i.Status.Clusters = nil
			}
		}), theImport, 3 * settlePasses, false},
		"a webhook strips a label by which slices are known": {webhook(func(o runtime.Object) {
			if s, ok := o.(*discoveryv1.EndpointSlice); ok {
				delete(s.Labels, mcsv1beta1.LabelSourceCluster)
			}
		}), "EndpointSlice shop/", 150, false},
		"a webhook takes an endpoint out, always another one": {webhook(func(o runtime.Object) {
			if s, ok := o.(*discoveryv1.EndpointSlice); ok && len(s.Endpoints) > 1 {
				s.Endpoints = s.Endpoints[1:]
			}
		}), "EndpointSlice shop/", 150, false},
		"a controller deletes the Service": {controller(func(s *server) {
			_ = s.core.Tracker().Delete(servicesResource, "shop", DerivedName(checkout))
		}), derived, 150, false},
		"a controller deletes the ServiceImport": {controller(func(s *server) {
			_ = s.mcs.Tracker().Delete(importsResource, "shop", "checkout")
		}), theImport, 150, true},
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
		}), "ServiceExport shop/checkout", 3 * settlePasses, false},
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
				if n := len(s.written()); n == 0 || n > tt.most {
					t.Errorf("expected some writes in three minutes, and not more than %d, found %d", tt.most, n)
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
				pass(lastPause + 2*calm)
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
						if c.pauses > 0 {
							t.Fatalf("step %d: %s: %d passes did not settle it", i, name, boutPasses)
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

// opponents is a service that always has one write to be made, on a clock of its own.
type opponents struct {
	testing.TB
	contests
	now    time.Time
	intent intent
	verb   Verb
}

func newOpponents(t testing.TB, v Verb) *opponents {
	return &opponents{
		TB: t, contests: contests{of: map[catalog.ServiceName]*contest{}}, now: start, verb: v,
		intent: intent{service: &catalog.Service{}, conditions: &catalog.Conditions{}},
	}
}

// pass plans, and writes unless that is held; due is then for how long.
func (o *opponents) pass() (held bool, due time.Duration, contested []string) {
	o.Helper()
	object := &mcsv1beta1.ServiceImport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}}
	p := Plan{intent: o.intent, Again: true, Writes: []Write{{Verb: o.verb, Object: object}}}
	at := o.hold(checkout, &p, o.now)
	if held = len(p.Writes) == 0; held == p.Again || held == at.IsZero() {
		o.Errorf("held is %v, again %v, due %v", held, p.Again, at)
	}
	if !held {
		o.wrote(checkout, &p, 1, o.now)
		return false, 0, p.Contested
	}
	return true, at.Sub(o.now), p.Contested
}

// bout makes passes, some time apart, until one is held, and returns how many were
// not, and for how long that is.
func (o *opponents) bout(apart time.Duration) (passes int, pause time.Duration) {
	o.Helper()
	for passes < 100 {
		held, due, _ := o.pass()
		if held {
			return passes, due
		}
		passes++
		o.now = o.now.Add(apart)
	}
	o.Fatal("nothing is ever held")
	return 0, 0
}

// quiet plans without anything to be written.
func (o *opponents) quiet() (due time.Time, contested []string) {
	p := Plan{intent: o.intent}
	due = o.hold(checkout, &p, o.now)
	return due, p.Contested
}

func TestPausesGrowWhileNothingIsSettled(t *testing.T) {
	for verb, longest := range map[Verb]time.Duration{UpdateStatus: lastPause, Update: dependsPause} {
		for _, apart := range []time.Duration{time.Millisecond, 20 * time.Second, calm} {
			o := newOpponents(t, verb)
			want, first := firstPause, boutPasses
			for n := range 12 {
				passes, pause := o.bout(apart)
				if passes != first || pause != min(want, longest) {
					t.Errorf("%s every %v, bout %d: %d passes and a pause of %v, expected %d and %v", verb, apart, n, passes, pause, first, min(want, longest))
				}
				if _, _, contested := o.pass(); (len(contested) == 1) != (n+1 >= toldAfter) {
					t.Errorf("bout %d: contested is %v", n, contested)
				}
				o.now = o.now.Add(pause)
				want, first = min(2*want, lastPause), settlePasses
			}
		}
	}
}

func TestWhatIsSettledIsForgotten(t *testing.T) {
	o := newOpponents(t, Update)
	for range toldAfter {
		_, pause := o.bout(0)
		o.now = o.now.Add(pause)
	}
	if due, contested := o.quiet(); len(contested) != 1 || !due.Equal(o.now.Add(calm)) {
		t.Errorf("nothing to write: contested %v, looked at again at %v", contested, due)
	}
	o.now = o.now.Add(calm / 2)
	if _, _, contested := o.pass(); len(contested) != 1 {
		t.Error("within a minute: it is not contested any more")
	}
	o.quiet()
	o.now = o.now.Add(calm)
	if due, contested := o.quiet(); len(contested) != 0 || !due.IsZero() || len(o.of) != 0 {
		t.Errorf("calm: contested %v, looked at again at %v, %d services remembered", contested, due, len(o.of))
	}
	if passes, pause := o.bout(0); passes != boutPasses || pause != firstPause {
		t.Errorf("after calm: %d passes and a pause of %v", passes, pause)
	}
	o.prune(o.now.Add(2 * resync))
	if len(o.of) != 1 {
		t.Error("what was looked at lately is forgotten")
	}
	if o.prune(o.now.Add(2*resync + 1)); len(o.of) != 0 {
		t.Error("what is not looked at any more is not forgotten")
	}
}

func TestANewIntentIsWrittenAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*intent)
		world  bool // it may concern all services, and brings passes every two seconds
	}{
		"service":    {func(i *intent) { i.service = &catalog.Service{} }, false},
		"verdict":    {func(i *intent) { i.verdict.Refused = "by a rule" }, false},
		"export":     {func(i *intent) { i.export = "another" }, false},
		"generation": {func(i *intent) { i.generation++ }, false},
		"conditions": {func(i *intent) { i.conditions = &catalog.Conditions{} }, true},
		"ramp":       {func(i *intent) { i.ramp = map[catalog.Locality]uint32{{Region: "us-west"}: 1} }, true},
		"zones":      {func(i *intent) { i.zones = map[string]int{"a": 1} }, true},
		"behind":     {func(i *intent) { i.behind = "west-1" }, true},
	} {
		o := newOpponents(t, UpdateStatus)
		for range 7 { // the next pause is more than a minute
			_, pause := o.bout(0)
			o.now = o.now.Add(pause)
		}
		o.intent.conditions = &catalog.Conditions{}
		o.bout(0)
		tt.change(&o.intent)
		if tt.world {
			if held, due, _ := o.pass(); !held || due != rampPause {
				t.Errorf("%s: held is %v for %v, expected %v", name, held, due, rampPause)
			}
			o.now = o.now.Add(rampPause)
		}
		if passes, pause := o.bout(0); passes != settlePasses || pause < calm {
			t.Errorf("%s: %d passes and a pause of %v", name, passes, pause)
		}
	}
}

func TestStepsOfADrillAreNotContested(t *testing.T) {
	for _, apart := range []time.Duration{50 * time.Millisecond, 250 * time.Millisecond, time.Second, 3 * time.Second} {
		o, written := newOpponents(t, Update), 0
		for range 400 {
			o.intent.conditions = &catalog.Conditions{}
			held, due, contested := o.pass()
			if held && due > rampPause || len(contested) > 0 {
				t.Fatalf("steps every %v: held for %v, contested %v", apart, due, contested)
			}
			written += btoi(!held)
			o.now = o.now.Add(apart)
		}
		if c := o.of[checkout]; c.pauses != 0 || written < 10*settlePasses {
			t.Errorf("steps every %v: %d pauses, %d of 400 written", apart, c.pauses, written)
		}
	}
}

func TestNewIntentsDoNotMakePausesLonger(t *testing.T) {
	o := newOpponents(t, UpdateStatus)
	for range 100 { // in five seconds
		o.intent.service = &catalog.Service{}
		o.bout(0)
		o.now = o.now.Add(50 * time.Millisecond)
	}
	if _, pause, _ := o.pass(); pause > 4*time.Second {
		t.Errorf("after five seconds in which every flip was contested: a pause of %v", pause)
	}
	for range 20 {
		o.intent.service = &catalog.Service{}
		o.pass()
		o.now = o.now.Add(calm - 1)
	}
	if c := o.of[checkout]; c.pauses != 0 {
		t.Errorf("after twenty minutes of flips only: still contested, %+v", c)
	}
}

func TestPassesThatAreBrokenOffCountForWhatTheyWrote(t *testing.T) {
	k := contests{of: map[catalog.ServiceName]*contest{}}
	p := Plan{Writes: slices.Repeat([]Write{{Object: &corev1.Service{}}}, 4)}
	for range boutPasses {
		for _, made := range []int{1, 0, 1, 2} {
			k.wrote(checkout, &p, made, start)
		}
	}
	if left := k.of[checkout].left; left != 0 {
		t.Errorf("%d passes are left", left)
	}
}
