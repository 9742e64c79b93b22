package imports

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/federator/federator/federation/catalog"
)

func named(n string) catalog.ServiceName {
	return catalog.ServiceName{Namespace: "shop", Name: n}
}

// order takes everything that is ready and returns it in order.
func order(q *queue) (out string) {
	for {
		name, urgency, _, ok := q.take()
		if !ok {
			return out
		}
		out += fmt.Sprint(name.Name, urgency, " ")
		q.finish(name, time.Time{})
	}
}

func TestWhatNobodyHasLookedAtComesFirstAndThenTheMostUrgent(t *testing.T) {
	q := newQueue()
	for _, n := range []string{"a", "b", "c", "d"} {
		q.add(named(n))
	}
	for _, u := range []Urgency{Rest, Dead, Flipped} { // of a, b and c
		name, _, _, _ := q.take()
		q.urge(name, u)
	}
	if got := q.depth(); got != [3]int{1, 1, 1} {
		t.Errorf("expected one of each urgency, found %v", got)
	}
	if q.outranks(Dead) || !q.outranks(Flipped) || !q.outranks(Rest) {
		t.Error("expected a dead service to outrank all others and nothing else to outrank it")
	}
	if got, want := order(q), "d-1 b0 c1 a2 "; got != want {
		t.Errorf("expected %q, found %q", want, got)
	}
	if q.outranks(Rest) || q.depth() != [3]int{} {
		t.Errorf("once it is empty: expected nothing to outrank anything, found %v", q.depth())
	}
}

func TestAServiceThatChangesWhileAWorkerHasItIsLookedAtAgain(t *testing.T) {
	q := newQueue()
	q.add(named("a"))
	name, _, _, _ := q.take()
	q.add(name)
	if _, _, _, ok := q.take(); ok {
		t.Fatal("expected it not to be handed out twice")
	}
	q.finish(name, time.Time{})
	if got, want := order(q), "a-1 "; got != want {
		t.Errorf("expected %q, found %q", want, got)
	}
}

func TestFailuresWaitLongerAndLongerAndChangesDoNotHurryThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.add(named("a"))
		last := time.Duration(0)
		for try := range 12 {
			name, _, ok := q.next(context.Background())
			if !ok {
				t.Fatal("expected the service")
			}
			if times := q.retry(name); times != try+1 {
				t.Errorf("expected failure %d, found %d", try+1, times)
			}
			q.add(name)
			_, _, pause, ok := q.take()
			if ok || pause > lastRetry*5/4 || try < 8 && pause < last {
				t.Errorf("failure %d: expected a longer pause than %v and at most %v, found %v", try+1, last, lastRetry*5/4, pause)
			}
			last = pause
			time.Sleep(pause)
		}
		name, _, _ := q.next(context.Background())
		q.retry(name)
		q.retryAll()
		if got, want := order(q), "a-1 "; got != want {
			t.Errorf("once the API server is back: expected %q at once, found %q", want, got)
		}
	})
}

func TestAQueueEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		begun := time.Now()
		if _, _, ok := q.next(ctx); ok || time.Since(begun) != time.Minute {
			t.Errorf("expected nothing after a minute, found %v after %v", ok, time.Since(begun))
		}
	})
}
