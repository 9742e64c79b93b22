package devlab

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// simulated is a story over a plan without processes, whose lookups a test makes up.
func simulated() *Story {
	l := &Lab{Plan: testPlan(), out: io.Discard, began: time.Now(), processes: map[string]*process{}, closed: map[string]bool{}}
	return &Story{Lab: l, watch: newWatch(l, time.Second)}
}

// answer adds a lookup of a service at every replica outside the victim's region
// that match names.
func (s *Story) answer(service string, match func(*Replica) bool, err error, addresses ...string) {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	for _, r := range s.Replicas {
		if match(r) {
			s.watch.lookups = append(s.watch.lookups, lookup{time.Now(), time.Now(), r, name(service, s.Lab), addresses, err})
		}
	}
}

func only(names ...string) func(*Replica) bool {
	return func(r *Replica) bool { return slices.Contains(names, r.Name) }
}

func all(*Replica) bool { return true }

func TestGoneIsTheLastAnswerThatShowedTheVictim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simulated()
		start := time.Now()
		s.answer("catalog", all, nil, "127.10.1.11")
		time.AfterFunc(2*time.Second, func() { s.answer("catalog", only("asia-east-0"), nil, "127.10.1.11", "127.10.2.11") })
		time.AfterFunc(3*time.Second, func() { s.answer("catalog", all, nil, "127.10.2.11") })
		time.AfterFunc(4*time.Second, func() { s.answer("catalog", only("us-west-0"), nil, "127.10.1.11") })
		// An answer every second keeps the silence from looking like an end.
		time.AfterFunc(time.Second, func() { s.answer("catalog", only("eu-central-1"), nil, "127.10.1.12") })
		if err := s.gone(t.Context(), "x", start, 5*time.Second, s.outside(victim)); err != nil {
			t.Fatal(err)
		}
		if f := s.figures[0]; f.took != 2*time.Second || !f.ok() {
			t.Errorf("got %+v, want 2s", f)
		}
	})
}

func TestWhatNeverGoesIsReportedAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simulated()
		for i := range 100 {
			time.AfterFunc(time.Duration(i)*time.Second, func() { s.answer("catalog", all, nil, "127.10.1.11") })
		}
		if err := s.gone(t.Context(), "x", time.Now(), 5*time.Second, s.outside(victim)); err != nil {
			t.Fatal(err)
		}
		if err := verdict(s.figures); err == nil || !strings.Contains(err.Error(), "still there") {
			t.Errorf("got %v", err)
		}
		time.Sleep(100 * time.Second)
	})
}

func TestSeenIsWhenTheLastReplicaShowsTheVictim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simulated()
		start := time.Now()
		time.AfterFunc(time.Second, func() { s.answer("catalog", all, nil, "127.10.1.11") })
		time.AfterFunc(500*time.Millisecond, func() { s.answer("checkout", all, nil, "127.10.1.1") })
		time.AfterFunc(250*time.Millisecond, func() { s.answer("catalog", only("asia-east-2"), nil, "127.10.1.11") })
		if err := s.seen(t.Context(), "x", start, 5*time.Second, "catalog", s.outside(victim)); err != nil {
			t.Fatal(err)
		}
		if f := s.figures[0]; f.took != time.Second || !f.ok() {
			t.Errorf("got %+v, want 1s", f)
		}
	})
}

func TestOneReplicaThatNeverShowsTheVictimIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simulated()
		s.answer("catalog", func(r *Replica) bool { return r.Name != "asia-east-2" }, nil, "127.10.1.11")
		if err := s.seen(t.Context(), "x", time.Now(), 5*time.Second, "catalog", s.outside(victim)); err != nil {
			t.Fatal(err)
		}
		if err := verdict(s.figures); err == nil || !strings.Contains(err.Error(), "asia-east-2") || strings.Contains(err.Error(), "asia-east-1") {
			t.Errorf("got %v", err)
		}
	})
}

func TestOneAnswerWithoutTheVictimIsTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simulated()
		start := time.Now()
		if f := s.stillSeen(start, "x"); f.ok() {
			t.Error("no answer at all counts as seen")
		}
		s.answer("catalog", all, nil, "127.10.1.11")
		if f := s.stillSeen(start, "x"); !f.ok() {
			t.Errorf("got %+v", f)
		}
		s.answer("catalog", only("eu-central-0"), nil, "127.10.2.11")
		if f := s.stillSeen(start, "x"); f.ok() || !strings.Contains(f.found(), "1 of 7") {
			t.Errorf("got %s", f.found())
		}
	})
}

func TestAFailedLookupDoesHarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simulated()
		s.answer("catalog", only("us-west-0"), errors.New("before"))
		time.Sleep(time.Second)
		start := time.Now()
		s.unharmed(start, "nothing asked")
		s.answer("catalog", all, nil, "127.10.2.11")
		s.unharmed(start, "well")
		s.answer("catalog", only("asia-east-0"), errors.New("timeout"))
		s.unharmed(start, "harmed")
		for i, want := range []string{"nothing was looked up", "9, none failed", "1 of 10 failed, the worst on asia-east-0: timeout"} {
			if got := s.figures[i].found(); got != want || s.figures[i].ok() != (i == 1) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}
