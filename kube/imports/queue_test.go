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
	if q.other != 1 {
		t.Errorf("expected one that nobody has looked at, found %d", q.other)
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

func TestWhatCanWaitDoesUntilAllHaveBeenLookedAt(t *testing.T) {
	q := newQueue()
	q.add(named("a"))
	if q.outranks(Dead) || q.outranks(Flipped) || !q.outranks(Rest) {
		t.Error("expected a service that nobody has looked at to outrank nothing but what can wait")
	}
	if order(q); q.outranks(Rest) {
		t.Error("expected nothing to outrank anything in an empty queue")
	}
}

func TestAChangeEndsTheWaitOfAServiceThatWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.add(named("a"))
		name, _, _ := q.next(context.Background())
		q.retry(name, false)
		if _, _, pause, ok := q.take(); ok || pause < firstRetry/2 {
			t.Errorf("unchanged: expected it to wait, found %v, %v", ok, pause)
		}
		q.add(name)
		if got, want := order(q), "a-1 "; got != want {
			t.Errorf("changed while it waits: expected %q, found %q", want, got)
		}
		q.add(name)
		name, _, _ = q.next(context.Background())
		q.add(name)
		q.retry(name, false)
		if got, want := order(q), "a-1 "; got != want {
			t.Errorf("changed before it was refused: expected %q, found %q", want, got)
		}
	})
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
			if times := q.retry(name, true); times != try+1 {
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
		q.retry(name, true)
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
