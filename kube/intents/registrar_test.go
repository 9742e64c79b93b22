package intents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube"
	"github.com/federator/federator/kube/api/v1alpha1"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// server takes updates of the status of ResolutionPolicies as an API server does: it
// checks the version and gives the next. What is read is put into the informer by the
// test.
type server struct {
	mu      sync.Mutex
	have    map[string]*v1alpha1.ResolutionPolicy
	version int
	writes  []string
	times   []time.Time
	forbid  bool
}

// ServeHTTP implements [http.Handler].
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next v1alpha1.ResolutionPolicy
	if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/status") || json.NewDecoder(r.Body).Decode(&next) != nil {
		http.Error(w, "unexpected "+r.Method+" "+r.URL.Path, http.StatusBadRequest)
		return
	}
	s.writes = append(s.writes, next.Name+" "+told(&next))
	s.times = append(s.times, time.Now())
	w.Header().Set("Content-Type", "application/json")
	if s.forbid {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"federator may not update resolutionpolicies/status"}`))
		return
	}
	have := s.have[next.Name]
	if have == nil || have.ResourceVersion != next.ResourceVersion {
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409}`))
		return
	}
	s.version++
	stored := have.DeepCopy()
	stored.Status, stored.ResourceVersion = next.Status, fmt.Sprint(s.version)
	stored.Kind, stored.APIVersion = v1alpha1.KindResolutionPolicy, v1alpha1.GroupVersion().String()
	s.have[next.Name] = stored
	_ = json.NewEncoder(w).Encode(stored)
}

// fakeLink is a link as the test wants it.
type fakeLink struct {
	away, lacking error
	since         time.Time
}

func (l *fakeLink) State() (time.Time, error)         { return l.since, l.away }
func (l *fakeLink) Lacking(string) (time.Time, error) { return l.since, l.lacking }
func (l *fakeLink) Changed() <-chan struct{}          { return nil }
func (l *fakeLink) lack(err error, since time.Duration) {
	l.lacking, l.since = err, time.Now().Add(-since)
}

// federated is a federation that is a catalog, in which what is written is there at
// once.
type federated struct {
	t       *testing.T
	catalog *catalog.Catalog
	version uint64
	objects map[string]*catalog.Object
	fails   error
	slow    bool // it fails after a while, a little before the caller's time is up
	puts    int
}

func newFederated(t *testing.T) *federated {
	return &federated{t: t, catalog: catalog.New("west", "west"), objects: map[string]*catalog.Object{}}
}

func (f *federated) Policies() (out []*catalog.Object) {
	for _, o := range f.objects {
		out = append(out, o)
	}
	return out
}

func (f *federated) PutPolicy(ctx context.Context, origin catalog.PolicyOrigin, p *catalog.ClusterPolicy, _ catalog.ObjectVersion) error {
	f.puts++
	if f.slow {
		deadline, _ := ctx.Deadline()
		time.Sleep(time.Until(deadline) * 9 / 10)
	}
	if f.fails != nil {
		return f.fails
	}
	f.version++
	o := &catalog.Object{ObjectKey: origin.Key(), Version: catalog.ObjectVersion{Generation: f.version, HLC: int64(f.version), Region: "west"}, Deleted: p == nil}
	if p != nil {
		o.Spec, _ = json.Marshal(p)
	}
	f.objects[o.Name] = o
	records := []catalog.Record{{Region: &catalog.Region{Name: "west", Epoch: 1, Clusters: []string{"w1"}}}}
	for _, one := range f.objects {
		records = append(records, catalog.Record{Object: one})
	}
	return f.catalog.Reset(catalog.Snapshot{Region: "west", Version: catalog.Version{Epoch: 1, Seq: f.version}, Records: records}, time.Now())
}

func (f *federated) Drills() []catalog.DrillView                     { return nil }
func (f *federated) Report(*catalog.DrillView) DrillReport           { return DrillReport{} }
func (f *federated) StartDrill(context.Context, catalog.Drill) error { return errors.New("not here") }
func (f *federated) StopDrill(_ context.Context, id, reason string) error {
	return errors.New("not here")
}

// office is a registrar between a server and a federation.
type office struct {
	*Registrar
	t          *testing.T
	server     *server
	link       *fakeLink
	federation *federated
	leading    atomic.Bool
	metrics    *prometheus.Registry
	told       []string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, server: &server{have: map[string]*v1alpha1.ResolutionPolicy{}, version: 10}, link: &fakeLink{}, federation: newFederated(t), metrics: prometheus.NewRegistry()}
	o.leading.Store(true)
	web := httptest.NewServer(o.server)
	t.Cleanup(web.Close)
	client, err := kube.NewFederator(&rest.Config{Host: web.URL, Transport: &http.Transport{DisableKeepAlives: true}})
	if err != nil {
		t.Fatal(err)
	}
	o.Registrar, err = New(Config{
		Kube: &kube.Cluster{Federator: client, FederatorInformers: kube.NewFederatorInformers(client)}, Link: o.link, Cluster: "w1", Region: "west",
		Catalog: o.federation.catalog, Federation: o.federation, Leading: o.leading.Load, Tell: o.hear, Logger: slog.New(slog.DiscardHandler), Metrics: o.metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	o.policies.synced = func() bool { return true }
	return o
}

func (o *office) hear(on *corev1.ObjectReference, n Notice) {
	o.told = append(o.told, fmt.Sprintf("%s %s/%s %s: %s, %s", on.Kind, on.Namespace, on.Name, on.UID, n.Reason, n.Message))
}

// show puts what the server has into the informer.
func (o *office) show() {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	var all []any
	for _, p := range o.server.have {
		all = append(all, p)
	}
	if err := o.policies.informer.GetStore().Replace(all, ""); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) create(name string) {
	p := resolution(name, "checkout", 1, "west")
	p.ResourceVersion = "5"
	o.server.mu.Lock()
	o.server.have[name] = p
	o.server.mu.Unlock()
	o.show()
}

func (o *office) origin(name string) catalog.PolicyOrigin {
	return catalog.PolicyOrigin{Cluster: "w1", Namespace: "shop", Name: name}
}

func (o *office) want(puts int, writes ...string) {
	o.t.Helper()
	if got := strings.Join(o.server.writes, "; "); o.federation.puts != puts || got != strings.Join(writes, "; ") {
		o.t.Errorf("expected %d writes to the federation and the statuses %q; found %d and %q", puts, writes, o.federation.puts, o.server.writes)
	}
}

func TestTheRegistrarWritesOnceWhatHasChanged(t *testing.T) {
	const inForce = "a Ready=True InForce, Conflict=False NoConflicts, Refused=False Allowed"
	o := newOffice(t)
	o.create("a")
	ctx := t.Context()
	o.stepPolicies(ctx)
	o.want(1)
	o.stepPolicies(ctx)
	o.want(1, inForce)
	o.stepPolicies(ctx) // the informer does not show the write yet
	o.want(1, inForce)
	o.show()
	o.stepPolicies(ctx)
	o.want(1, inForce)
	if got := o.counts(); got != "InForce 1" {
		t.Errorf("expected one policy to be counted as in force, found %q", got)
	}
}

// counts are the policies by what has become of them, as the metric has it.
func (o *office) counts() string {
	families, err := o.metrics.Gather()
	if err != nil {
		o.t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "federator_kube_resolution_policies" {
				out = append(out, fmt.Sprint(m.GetLabel()[0].GetValue(), " ", m.GetGauge().GetValue()))
			}
		}
	}
	return strings.Join(out, ", ")
}

func TestTheRegistrarKeepsPoliciesWhileItCannotReadTheCluster(t *testing.T) {
	o := newOffice(t)
	o.create("a")
	ctx := t.Context()
	o.stepPolicies(ctx)
	clear(o.server.have)
	o.show()
	for what, change := range map[string]func(){
		"the API server is away":           func() { o.link.away = errors.New("away") },
		"the informer has not read all":    func() { o.policies.synced = func() bool { return false } },
		"the kind may not be read":         func() { o.link.lack(errors.New("forbidden"), time.Hour) },
		"the kind is missing for a moment": func() { o.link.lack(kube.ErrNotInstalled, time.Second) },
		"another replica is the writer":    func() { o.leading.Store(false) },
	} {
		change()
		o.stepPolicies(ctx)
		if len(o.federation.catalog.ClusterPolicies()) != 1 {
			t.Errorf("%s: expected the policy to stay", what)
		}
		o.link.away, o.link.lacking, o.policies.synced = nil, nil, func() bool { return true }
		o.leading.Store(true)
	}
	o.link.lack(fmt.Errorf("kubernetes: %w resolutionpolicies", kube.ErrNotInstalled), time.Hour)
	o.stepPolicies(ctx)
	if len(o.federation.catalog.ClusterPolicies()) != 0 {
		t.Error("expected the policy to go with its kind")
	}
}

func TestTheRegistrarSaysWhyAPolicyDoesNotArriveAndTriesAgain(t *testing.T) {
	o := newOffice(t)
	o.create("a")
	o.federation.fails = errors.New("no majority")
	ctx := t.Context()
	o.stepPolicies(ctx)
	o.stepPolicies(ctx)
	o.want(2, "a Ready=False Pending")
	o.stepPolicies(ctx)
	o.want(3, "a Ready=False Pending")
	o.federation.fails = nil
	o.stepPolicies(ctx)
	o.stepPolicies(ctx)
	if got := told(o.server.have["a"]); !strings.HasPrefix(got, "Ready=True InForce") {
		t.Errorf("found %s", got)
	}
}

func TestARegistrarThatIsNotTheWriterWritesNothing(t *testing.T) {
	o := newOffice(t)
	o.leading.Store(false)
	o.create("a")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	o.Look()
	time.Sleep(2 * lookAfter)
	if got := o.counts(); got != "" {
		t.Errorf("expected no counts on a replica that does not write, found %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	o.want(0)
}

func TestManyStatusesAreWrittenLittleByLittle(t *testing.T) {
	o := newOffice(t)
	for i := range 40 {
		o.create(fmt.Sprintf("p%02d", i))
	}
	ctx := t.Context()
	for o.stepPolicies(ctx); len(o.written()) < 40; o.stepPolicies(ctx) {
		time.Sleep(5 * time.Millisecond) // as often as somebody makes the registrar look
	}
	if o.federation.puts != 40 {
		t.Errorf("expected 40 policies to arrive, found %d", o.federation.puts)
	}
	times := o.written()
	for i, from := range times {
		n := 0
		for _, at := range times[i:] {
			if at.Sub(from) < time.Second {
				n++
			}
		}
		if n > MostWritesPerSecond {
			t.Fatalf("expected at most %d writes in any second, found %d", MostWritesPerSecond, n)
		}
	}
}

// written is when the statuses were written.
func (o *office) written() []time.Time {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	return slices.Clone(o.server.times)
}

func TestWhatBecomesOfAPolicyIsToldOnceWithItsStatus(t *testing.T) {
	o := newOffice(t)
	o.create("a")
	ctx := t.Context()
	for range 3 {
		o.stepPolicies(ctx)
		o.show()
	}
	if got := strings.Join(o.told, "; "); got != "ResolutionPolicy shop/a a: InForce, it decides how shop/checkout is resolved, in every region" {
		t.Errorf("found %q", got)
	}
	o.told = nil
	o.server.forbid = true
	o.federation.catalog = catalog.New("west", "west") // nothing is known of it any more
	o.cfg.Catalog = o.federation.catalog
	o.stepPolicies(ctx)
	if len(o.told) > 0 {
		t.Errorf("expected nothing to be told with a status that could not be written, found %q", o.told)
	}
}
