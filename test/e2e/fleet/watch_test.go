package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

func TestOnlyALookupThatTimedOutWhileSomethingStoodStillIsForgiven(t *testing.T) {
	type said struct {
		found []string
		err   error
	}
	answer, empty := said{found: []string{"127.0.0.1"}}, said{}
	late, gaveUp, refused := said{err: fmt.Errorf("read: %w", os.ErrDeadlineExceeded)}, said{err: context.DeadlineExceeded}, said{err: errors.New("SERVFAIL")}
	for _, tt := range []struct {
		name     string
		said     []said
		stood    string
		forgiven bool
		failed   bool
	}{
		{"an answer", []said{answer}, "", false, false},
		{"late, something stood still", []said{late, answer}, "it stood", true, false},
		{"given up, late again, something stood still", []said{gaveUp, late, late, answer}, "it stood", true, false},
		{"late, nothing stood still", []said{late, answer}, "", false, true},
		{"late for too long", []said{late, late, late, late}, "it stood", false, true},
		{"no address", []said{empty}, "it stood", false, true},
		{"refused", []said{refused}, "it stood", false, true},
		{"late, then refused", []said{late, refused}, "it stood", false, true},
		{"late, then no address", []said{late, empty}, "it stood", false, true},
	} {
		asked, begun := 0, 0
		w := watcher{
			ask:   func() ([]string, error) { s := tt.said[asked]; asked++; return s.found, s.err },
			begin: func() { begun++ },
			stood: func() string { return tt.stood },
		}
		forgiven, err := w.lookup()
		if (forgiven != "") != tt.forgiven || (err != nil) != tt.failed || asked != len(tt.said) || begun != 1 {
			t.Errorf("%s: expected %d questions, forgiven %v, failed %v, found %d, %q, %v", tt.name, len(tt.said), tt.forgiven, tt.failed, asked, forgiven, err)
		}
	}
}

func TestAnAgentStoodStillIfItCountsMoreAndOneThatDoesNotSayDidNot(t *testing.T) {
	var pauses atomic.Int64
	metrics := "other 5\nfederator_gossip_pauses_total %d\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if strings.Contains(metrics, "%d") {
			_, _ = fmt.Fprintf(w, metrics, pauses.Load())
		}
	}))
	defer server.Close()
	r := &Replica{HTTP: server.Listener.Addr().String(), machine: &local{Dialer: net.Dialer{}}}
	pauses.Store(3)
	p := beginPace(r)
	defer p.self.End()
	agent := func() bool { return strings.Contains(p.stood(), "agent") }
	p.begin()
	if agent() {
		t.Error("what it counted before is taken for new")
	}
	p.begin()
	pauses.Add(1)
	if !agent() {
		t.Error("an agent that counts more has not stood still")
	}
	p.begin()
	if agent() {
		t.Error("what was forgiven is forgiven again")
	}
	metrics = "other 5\n"
	old := beginPace(r)
	defer old.self.End()
	if old.begin(); strings.Contains(old.stood(), "agent") {
		t.Error("an agent that does not say has stood still")
	}
}
