package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// linked is a running cluster whose informers watch EndpointSlices and
// ServiceExports of a server.
type linked struct {
	*Cluster
	t      *testing.T
	slices cache.SharedIndexInformer
	seen   atomic.Uint64 // the version that the last check found
}

func connect(t *testing.T, s *server, ask ...func(*Cluster)) *linked {
	t.Helper()
	c, err := New(s.config())
	if err != nil {
		t.Fatal(err)
	}
	c.link.patience.pause = 20 * time.Millisecond
	l := &linked{Cluster: c, t: t, slices: c.CoreInformers.Discovery().V1().EndpointSlices().Informer()}
	version := c.link.version
	c.link.version = func(ctx context.Context) (uint64, error) {
		v, err := version(ctx)
		l.seen.Store(v)
		return v, err
	}
	c.MCSInformers.Multicluster().V1beta1().ServiceExports().Informer()
	for _, a := range ask {
		a(c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx.Done()) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return l
}

// until waits until the informer holds exactly these slices, "NAME ADDRESS...".
func (l *linked) until(want ...string) {
	l.t.Helper()
	var got []string
	for range 3000 {
		got = got[:0]
		for _, object := range l.slices.GetStore().List() {
			s := object.(*discoveryv1.EndpointSlice)
			line := s.Name
			for _, e := range s.Endpoints {
				line += " " + e.Addresses[0]
			}
			got = append(got, line)
		}
		slices.Sort(got)
		if slices.Equal(got, want) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	l.t.Fatalf("the informer holds %q, expected %q", got, want)
}

// untilState waits for a state of the link.
func (l *linked) untilState(what string, is func(since time.Time, err error) bool) {
	l.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		changed := l.Changed()
		if is(l.State()) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			since, err := l.State()
			l.t.Fatalf("expected %s, found %v since %s", what, err, since)
		}
	}
}

// judged waits until the link has drawn its conclusion from what is known now. It does
// so alone, whenever it is told of something: by the time it takes the second of these,
// it is done with the first, and the third has room.
func (l *linked) judged() {
	for range 3 {
		l.link.patience.told <- struct{}{}
	}
}

func well(_ time.Time, err error) bool { return err == nil }

func TestAServerThatIsAwayIsSaidSinceWhenAndEmptiesNothing(t *testing.T) {
	s := newServer(t)
	s.put("a", "10.0.0.1")
	l := connect(t, s)
	l.until("a 10.0.0.1")
	start := time.Now()
	s.stop()
	l.untilState("that it is away", func(since time.Time, err error) bool {
		return err != nil && strings.Contains(err.Error(), s.addr) && !since.Before(start)
	})
	l.until("a 10.0.0.1")
	s.put("b", "10.0.0.2")
	s.start()
	l.untilState("that it is back", well)
	l.until("a 10.0.0.1", "b 10.0.0.2") // held by the time that is said, or a moment later
	reg := prometheus.NewRegistry()
	if err := l.Register(reg); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil || len(families) != 2 || families[0].GetMetric()[0].GetCounter().GetValue() < 1 {
		t.Errorf("metrics %v, %v", families, err)
	}
}

// The pauses of an informer itself double with every failure that it sees, up to a
// minute: a server that fails a few times while it starts would not be read for so
// long.
func TestAServerThatFailsAFewTimesIsReadAsSoonAsItDoesNot(t *testing.T) {
	s := newServer(t)
	s.put("a", "10.0.0.1")
	s.broken = 8
	start := time.Now()
	l := connect(t, s)
	l.until("a 10.0.0.1")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it was read after %v", took)
	}
	l.untilState("that it is there", well)
}

// A watch from a version that the server is still to reach says nothing, so that
// only reading everything anew finds out.
func TestAServerRestoredFromAnOlderSnapshotIsReadAnew(t *testing.T) {
	for name, stops := range map[string]bool{"after a stop": true, "between two checks": false} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.put("a", "10.0.0.1")
			s.mu.Lock()
			version, snapshot := s.version, maps.Clone(s.slices)
			s.mu.Unlock()
			l := connect(t, s)
			for i := range 5 {
				s.put("b", fmt.Sprint("10.0.0.", i+2))
			}
			l.until("a 10.0.0.1", "b 10.0.0.6")
			for l.seen.Load() < s.now() { // so that it is known to go back
				time.Sleep(10 * time.Millisecond)
			}
			if stops {
				s.stop()
			}
			s.restore(version, snapshot)
			if stops {
				s.start()
			}
			l.until("a 10.0.0.1")
			s.put("c", "10.0.0.9")
			l.until("a 10.0.0.1", "c 10.0.0.9")
			l.untilState("that all is well", well)
		})
	}
}

func (s *server) now() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

func TestAKindThatIsInstalledLaterIsTakenUpByItself(t *testing.T) {
	s := newServer(t)
	s.absent = true
	s.put("a", "10.0.0.1")
	l := connect(t, s)
	l.untilState("the remedy", func(_ time.Time, err error) bool {
		return err != nil && strings.Contains(err.Error(), "knows no serviceexports; install the CRDs") || err != nil && strings.Contains(err.Error(), "knows no serviceimports; install the CRDs")
	})
	l.until("a 10.0.0.1") // so that this kind was listed once
	lists := s.counted()
	s.mu.Lock()
	s.absent = false
	s.mu.Unlock()
	l.untilState("that all is well", well)
	exports := l.MCSInformers.Multicluster().V1beta1().ServiceExports().Informer()
	for !exports.HasSynced() {
		time.Sleep(10 * time.Millisecond)
	}
	if n := s.counted(); n != lists {
		t.Errorf("another kind was listed %d times more", n-lists)
	}
}

func TestWhatExportsDoNotDependOnMayBeForbidden(t *testing.T) {
	s := newServer(t)
	s.forbidden = custom + "serviceimports"
	l := connect(t, s)
	s.put("a", "10.0.0.1")
	l.until("a 10.0.0.1")
	for start := time.Now(); ; {
		l.link.patience.mu.Lock()
		line := l.link.patience.lines[s.forbidden]
		met := line != nil && line.fault != nil && line.fault.forbidden
		l.link.patience.mu.Unlock()
		if met {
			break
		}
		if time.Since(start) > 30*time.Second {
			t.Fatal("expected the informer to be refused")
		}
		time.Sleep(5 * time.Millisecond)
	}
	l.judged()
	l.untilState("that all is well", well)
	for kind, c := range map[string]struct {
		fault   fault
		read    bool
		counted bool
	}{
		"/api/v1/namespaces":      {fault{forbidden: true}, false, false},
		"/api/v1/nodes":           {fault{forbidden: true}, true, false},
		"/api/v1/nodes/":          {fault{forbidden: true}, false, true}, // and so there are no zones
		"/api/v1/services":        {fault{forbidden: true}, true, true},
		custom + "serviceexports": {fault{forbidden: true}, true, true},
		custom + "serviceimports": {fault{}, true, true}, // not installed
		builtIn:                   {fault{away: true, forbidden: true}, true, true},
	} {
		p := newPatience()
		if c.read {
			p.at(kind).taken = p.round
		}
		p.note(kind, &c.fault)
		if got := p.worst() != nil; got != c.counted {
			t.Errorf("%s: counted %v, expected %v", kind, got, c.counted)
		}
	}
}

func TestFederatorsOwnKindsMayBeMissingAndAreTakenUpByThemselves(t *testing.T) {
	s := newServer(t)
	l := connect(t, s, func(c *Cluster) { c.FederatorInformers.ResolutionPolicies() })
	lacking := func() error {
		_, err := l.Lacking("resolutionpolicies")
		return err
	}
	for start := time.Now(); lacking() == nil; {
		if time.Since(start) > 30*time.Second {
			t.Fatal("expected it to be said that the kind is missing")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := lacking(); !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "knows no resolutionpolicies; install the CRDs of federator.dev/v1alpha1") {
		t.Errorf("expected the remedy, found %v", err)
	}
	s.put("a", "10.0.0.1")
	l.until("a 10.0.0.1")
	l.judged()
	l.untilState("that all else is well", well)
	s.mu.Lock()
	s.own = true
	s.mu.Unlock()
	for !l.FederatorInformers.ResolutionPolicies().HasSynced() {
		time.Sleep(5 * time.Millisecond)
	}
	if err := lacking(); err != nil {
		t.Errorf("expected nothing to be lacking, found %v", err)
	}
}

func TestTheVerdictOnAServer(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(1000, 0).Add(time.Duration(seconds) * time.Second) }
	away := errors.New("away")
	transport := func(seconds int) *fault { return &fault{since: at(seconds), err: errors.New("refused"), away: true} }
	absent := &fault{since: at(0), err: errors.New("absent")}
	type step struct {
		at       int
		check    error
		version  uint64
		fault    *fault
		relisted bool
		relist   bool
		says     string
	}
	for name, steps := range map[string][]step{
		"all is well": {{at: 0, version: 5, relisted: true}, {at: 2, version: 6, relisted: true}},
		"a restart is no news, and all is read anew": {
			{at: 0, version: 5, relisted: true}, {at: 1, fault: transport(1), relisted: true},
			{at: 2, version: 6, relist: true}, {at: 3, version: 7, relisted: true}},
		"an outage": {
			{at: 0, version: 5, relisted: true}, {at: 2, check: away, relisted: true}, {at: 5, check: away, relisted: true, says: "1002 away"},
			{at: 6, version: 9, relist: true, says: "1002 anew"}, {at: 7, version: 9, relisted: true}},
		"checks succeed and the informers find nobody": {
			{at: 0, version: 5, fault: transport(0), relisted: true}, {at: 4, version: 5, fault: transport(0), relisted: true, says: "1000 refused"}},
		"a second outage while all is read anew": {
			{at: 0, check: away}, {at: 4, check: away, says: "1000 away"}, {at: 5, version: 1, relist: true, says: "1000 anew"},
			{at: 6, check: away, says: "1000 away"}, {at: 7, version: 1, relist: true, says: "1000 anew"}, {at: 8, version: 1, relisted: true}},
		"one check that took too long": {{at: 0, version: 5, relisted: true}, {at: 2, check: away, relisted: true}, {at: 4, version: 6, relisted: true}},
		"a store that went back": {
			{at: 0, version: 9, relisted: true}, {at: 2, version: 3, relist: true}, {at: 6, version: 4, says: "1002 anew"}, {at: 7, version: 4, relisted: true},
			{at: 8, version: 5, relisted: true}},
		"a kind that is absent": {{at: 0, version: 5, fault: absent, relisted: true, says: "1000 absent"}, {at: 2, version: 5, relisted: true}},
		"absent after an outage": {
			{at: 0, check: away, fault: absent}, {at: 4, check: away, fault: absent, says: "1000 away"},
			{at: 5, version: 3, fault: absent, relist: true, says: "1000 anew"}, {at: 6, version: 3, fault: absent, relisted: true, says: "1000 absent"}},
	} {
		t.Run(name, func(t *testing.T) {
			var o outage
			for i, s := range steps {
				o.checked(at(s.at), s.version, s.check)
				relist := o.over(s.fault)
				since, err := o.verdict(at(s.at), s.fault, s.relisted && !relist)
				says := ""
				if err != nil {
					text := err.Error()
					if err == errAnew {
						text = "anew"
					}
					says = fmt.Sprint(since.Unix(), " ", text)
				}
				if relist != s.relist || says != s.says {
					t.Fatalf("step %d: relist %v, says %q; expected %v, %q", i, relist, says, s.relist, s.says)
				}
			}
		})
	}
}
