package imports

import (
	"errors"
	"fmt"
	"maps"
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
)

func TestAnExportThatCannotBeToldAnythingDoesNotKeepEndpointsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		s.create(t, &mcsv1beta1.ServiceExport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}})
		s.set(func(s *server) {
			s.refusing = func(_, resource, name string) error {
				if resource == "serviceexports" {
					return apierrors.NewForbidden(corev1.Resource(resource), name, errors.New("no rule"))
				}
				return nil
			}
		})
		w.export(t, backend("west-1@us-west/a hh"))
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(5 * time.Minute) // so often refused that the next try is half a minute away
		if got := s.ready(t); len(got) != 2 {
			t.Fatalf("expected two endpoints, found %v", got)
		}
		w.export(t, backend("west-1@us-west/a hu"))
		pass(50 * time.Millisecond)
		if got := s.ready(t); len(got) != 1 {
			t.Errorf("50 ms after one failed: expected one endpoint, found %v", got)
		}
	})
}

func TestAServiceWithoutALiveEndpointDoesNotWaitUntilTheOthersAreLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		all := func(states string) (out []catalog.Backend) {
			for n := range 10 {
				for _, at := range []string{"west-1@us-west/a " + states, "east-1@us-east/a hh"} {
					b := backend(at)
					b.Set.Service.Name = fmt.Sprintf("svc-%02d", n)
					out = append(out, b)
				}
			}
			return out
		}
		w.export(t, all("hh")...)
		one := s.start(t, "replica-0", w.Catalog)
		pass(5 * time.Second)
		one.stop()
		other := s.start(t, "replica-1", newWorld().Catalog) // has the Lease, knows nothing, and leaves all alone
		defer other.stop()
		pass(5 * time.Second)
		idle := s.start(t, "replica-2", w.Catalog)
		defer idle.stop()
		pass(5 * time.Second)
		for _, tt := range []struct {
			states string
			writes bool
		}{{"hhh", false}, {"uuu", true}} {
			w.export(t, all(tt.states)...)
			s.forget()
			term := newTerm(w.Conditions())
			idle.lookAll(term)
			name, urgency, _ := term.queue.next(t.Context())
			idle.handle(t.Context(), term, name, urgency)
			if got := s.written(); len(got) > 0 != tt.writes || term.queue.other != 9 {
				t.Errorf("%s, and 9 of 10 services not looked at yet: expected writes %v, found %v, and %d not looked at", tt.states, tt.writes, got, term.queue.other)
			}
		}
	})
}

func TestWritesAreBoundedAndTheMostUrgentComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		const services = 300
		all := func(states func(int) string) (out []catalog.Backend) {
			for n := range services {
				for _, at := range []string{"west-1@us-west/a ", "east-1@us-east/a "} {
					b := backend(at + "hh")
					if strings.HasPrefix(at, "west") {
						b = backend(at + states(n))
					}
					b.Set.Service.Name = fmt.Sprintf("svc-%03d", n)
					out = append(out, b)
				}
			}
			return out
		}
		w.export(t, all(func(int) string { return "hh" })...)
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(30 * time.Second)
		s.forget()
		// Most get an endpoint more; the last ten die here and have to go elsewhere.
		dead := func(n int) bool { return n >= services-10 }
		w.export(t, all(func(n int) string {
			if dead(n) {
				return "uu"
			}
			return "hhh"
		})...)
		pass(200 * time.Millisecond)
		first := s.written()
		urgent := map[string]bool{}
		for _, write := range first {
			if strings.Contains(write, "endpointslices") {
				urgent[write] = true
			}
		}
		for n := range services {
			name := DerivedName(catalog.ServiceName{Namespace: "shop", Name: fmt.Sprintf("svc-%03d", n)})
			if !dead(n) {
				continue
			}
			if !slices.ContainsFunc(slices.Collect(maps.Keys(urgent)), func(w string) bool { return strings.Contains(w, name) }) {
				t.Errorf("200 ms later: expected svc-%03d, all of whose endpoints had died, to be written, found %d others", n, len(first))
			}
		}
		if most := writesPerSecond/5 + writeBurst + writers; len(first) > most {
			t.Errorf("expected at most %d writes in 200 ms, found %d", most, len(first))
		}
		pass(800 * time.Millisecond)
		if got := len(s.written()); got > writesPerSecond+writeBurst+writers {
			t.Errorf("expected at most %d writes in a second, found %d", writesPerSecond+writeBurst+writers, got)
		}
	})
}
