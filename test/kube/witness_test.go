//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/clientcmd"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/test/e2e/fleet"
)

// witness sees what clients in some clusters are told, all the time, and fails the
// test for everything that is not right.
type witness struct {
	*stage
	end func()

	places []string // where it looks

	mu   sync.Mutex
	may  map[string][]string          // what may be told, "ADDRESS,...", by service
	told map[string]map[string]string // what was told last, by place and service
	seen int
}

// testify begins to look, at the answers of the agents of these regions and at the
// imports of their clusters.
func (s *stage) testify(regions ...string) *witness {
	s.Helper()
	w := &witness{stage: s, may: map[string][]string{}, told: map[string]map[string]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, region := range regions {
		seen, err := mirrorOf(s, s.world.Cluster(region)).changes()
		s.must(err)
		where := w.place("imports of " + region)
		wg.Go(func() { w.slices(ctx, where, seen) })
		for _, r := range s.Replicas(region) {
			where := w.place("DNS of " + r.String())
			wg.Go(func() { w.questions(ctx, where, r) })
		}
	}
	w.end = sync.OnceFunc(func() { cancel(); wg.Wait() })
	s.Cleanup(w.end) // before the agents end
	return w
}

func (w *witness) place(where string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.places, w.told[where] = append(w.places, where), map[string]string{}
	return where
}

// stop ends it, and returns how many answers and slices it saw.
func (w *witness) stop() int {
	w.end()
	return w.seen
}

// right says what may be told of a service from now on, more than before: one of these.
// A service of which nothing was said may be told anything.
func (w *witness) right(service string, addresses ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.may[service] = addresses
}

// only is right with less than before. Answers and slices from before may be on their
// way, so it holds once each place has told one of these.
func (w *witness) only(service string, addresses ...string) {
	w.Helper()
	w.mu.Lock()
	if _, is := w.may[service]; !is {
		w.may[service] = nil // so that it is asked for
	}
	w.mu.Unlock()
	w.Until(soon, fmt.Sprintf("clients of %s everywhere to be sent to one of %q", service, addresses), func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, where := range w.places {
			if told := w.told[where][service]; !slices.Contains(addresses, told) {
				return fmt.Errorf("%s: found %q", where, told)
			}
		}
		w.may[service] = addresses
		return nil
	})
}

func (w *witness) judge(where, service string, told []string) {
	slices.Sort(told)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen++
	w.told[where][service] = strings.Join(told, ",")
	if may := w.may[service]; may != nil && !slices.Contains(may, w.told[where][service]) {
		w.Errorf("%s: clients of %s are sent to %q; right is one of %q", where, service, told, may)
	}
}

// slices looks at the slices of imports whenever one changes. Those of these services
// have one each.
func (w *witness) slices(ctx context.Context, where string, events <-chan apiwatch.Event) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			one := e.Object.(*discoveryv1.EndpointSlice)
			var told []string
			if e.Type != apiwatch.Deleted {
				for _, x := range one.Endpoints {
					if *x.Conditions.Ready {
						told = append(told, x.Addresses[0])
					}
				}
			}
			w.judge(where, one.Labels[mcs.LabelServiceName], told)
		}
	}
}

// answersWithin is how long an agent may leave one question without an answer, which
// takes milliseconds, on a machine that may stand still.
const answersWithin = 20 * time.Second

// questions asks an agent from outside of its cluster, over and over. A question that
// has no answer is asked again.
func (w *witness) questions(ctx context.Context, where string, r *fleet.Replica) {
	began, answered := time.Now(), map[string]time.Time{}
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		w.mu.Lock()
		services := slices.Collect(maps.Keys(w.may))
		w.mu.Unlock()
		for _, service := range services {
			got, err := answer(r, netip.MustParseAddr("127.0.0.1"), service+".shop.svc.clusterset.local.", dns.TypeA)
			if err == nil {
				answered[service] = time.Now()
			} else if last := answered[service]; time.Since(began) < answersWithin || time.Since(last) < answersWithin {
				continue
			} else {
				w.Errorf("%s has answered nothing about %s for %v: %v", r, service, answersWithin, err)
				return
			}
			for i := range got {
				got[i] = strings.TrimPrefix(got[i], "A ")
			}
			w.judge(where, service, got)
		}
	}
}

// written are the resource versions of all objects of these imports in the other
// clusters than us-west.
func (f *faults) written(t *testing.T, names ...string) map[string]string {
	t.Helper()
	out, ctx := map[string]string{}, context.Background()
	for _, c := range f.world.Clusters[1:] {
		for _, name := range names {
			i, err := c.Clients.MCS.MulticlusterV1beta1().ServiceImports(shop).Get(ctx, name, metav1.GetOptions{})
			must(t, err)
			out[c.Name+" import "+name] = i.ResourceVersion
			ours := metav1.ListOptions{LabelSelector: "federator.dev/import=" + name}
			services, err := c.Clients.Core.CoreV1().Services(shop).List(ctx, ours)
			must(t, err)
			for _, s := range services.Items {
				out[c.Name+" service "+s.Name] = s.ResourceVersion
			}
			parts, err := c.Clients.Core.DiscoveryV1().EndpointSlices(shop).List(ctx, ours)
			must(t, err)
			for _, s := range parts.Items {
				out[c.Name+" slice "+s.Name] = s.ResourceVersion
			}
		}
	}
	return out
}

// unwritten checks that nobody has written any of these objects, of the services in
// them, since.
func (f *faults) unwritten(t *testing.T, before map[string]string) {
	t.Helper()
	var names []string
	for object := range before {
		if _, name, is := strings.Cut(object, " import "); is && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if now := f.written(t, names...); !maps.Equal(now, before) {
		t.Errorf("expected the imports untouched: %v, found %v", before, now)
	}
}

// gate is a way to an API server that can be shut.
type gate struct {
	to string

	mu    sync.Mutex
	is    bool // shut
	conns map[net.Conn]struct{}
}

// through has the agents of a region, which are started anew, reach their API server
// through a gate.
func (s *stage) through(region string) *gate {
	s.Helper()
	path := strings.TrimSuffix(s.config[region], ".agent.yaml") + ".kubeconfig"
	config, err := clientcmd.LoadFromFile(path)
	s.must(err)
	server, err := url.Parse(config.Clusters["c"].Server)
	s.must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	g := &gate{to: server.Host, conns: map[net.Conn]struct{}{}}
	var wg sync.WaitGroup
	wg.Go(func() { g.serve(l, &wg) })
	s.Cleanup(func() { _ = l.Close(); g.shut(); wg.Wait() })
	config.Clusters["c"].Server = fmt.Sprintf("https://%s", l.Addr())
	s.must(clientcmd.WriteToFile(*config, path))
	for _, r := range s.Replicas(region) {
		r.Stop()
		r.Start("--config", s.config[region])
		r.Ready()
	}
	return g
}

func (g *gate) serve(l net.Listener, wg *sync.WaitGroup) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", g.to)
		if err != nil || !g.admit(in, out) {
			_ = in.Close()
			if out != nil {
				_ = out.Close()
			}
			continue
		}
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			wg.Go(func() {
				_, _ = io.Copy(way[0], way[1]) // ends with either of them
				_ = in.Close()
				_ = out.Close()
			})
		}
	}
}

// admit remembers connections, unless the gate is shut.
func (g *gate) admit(conns ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range conns {
		if !g.is {
			g.conns[c] = struct{}{}
		}
	}
	return !g.is
}

// shut cuts all connections, and lets none through any more.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.is = true
	for c := range g.conns {
		_ = c.Close()
	}
	clear(g.conns)
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.is = false
}
