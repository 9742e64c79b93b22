package imports

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/federator/federator/federation/catalog"
)

func TestAnAPIServerThatHasNotAnsweredSinceTheReplicaBeganIsTold(t *testing.T) {
	// The second one waits until some time has passed since the last error, which may
	// be decades ahead of this clock.
	handlers := utilruntime.ErrorHandlers
	utilruntime.ErrorHandlers = handlers[:1]
	defer func() { utilruntime.ErrorHandlers = handlers }()
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		s.set(func(s *server) { s.away = true })
		w.export(t, backend("west-1@us-west/a hh"))
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(30 * time.Second)
		if since := r.StaleSince(); since.IsZero() || time.Since(since) < 25*time.Second {
			t.Errorf("expected to be stale since some 28 s ago, found %v", since)
		}
		s.set(func(s *server) { s.away = false })
		pass(2 * time.Minute)
		if got := s.ready(t); len(got) != 2 || !r.StaleSince().IsZero() {
			t.Errorf("expected two endpoints and nothing stale, found %v and %v", got, r.StaleSince())
		}
	})
}

func TestManyEventsAreWrittenOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newServer(t), newWorld()
		r := s.start(t, "replica-0", w.Catalog)
		defer r.stop()
		pass(5 * time.Second)
		const many = 80
		for n := range many {
			r.notices <- Notice{Service: catalog.ServiceName{Namespace: "shop", Name: fmt.Sprintf("svc-%03d", n)}, Reason: "DrillStarted", Message: "us-east is drilled"}
		}
		written := func() int {
			list, err := s.core.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return len(list.Items)
		}
		pass(time.Second)
		if got := written(); got == 0 || got > eventsPerSecond+1 {
			t.Errorf("expected at most %d Events within a second, found %d", eventsPerSecond+1, got)
		}
		pass(10 * time.Second)
		if got := written(); got != many {
			t.Errorf("expected all %d Events in the end, found %d", many, got)
		}
	})
}
