package replication

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// model is the reference: per region a version and a plain map of records.
type model struct {
	mu       sync.Mutex
	versions map[string]catalog.Version
	records  map[string]map[catalog.RecordKey]catalog.Record
}

func newModel() *model {
	return &model{versions: map[string]catalog.Version{}, records: map[string]map[catalog.RecordKey]catalog.Record{}}
}

func (m *model) Version(region string) catalog.Version {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.versions[region]
}

// Partial is always false: the model knows all fields.
func (m *model) Partial(string) bool { return false }

func (m *model) Snapshot(region string) (catalog.Snapshot, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := catalog.Snapshot{Region: region, Version: m.versions[region]}
	for _, k := range slices.Sorted(maps.Keys(m.records[region])) {
		s.Records = append(s.Records, m.records[region][k])
	}
	return s, s.Version != catalog.Version{}
}

func (m *model) Reset(s catalog.Snapshot, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.Version.Compare(m.versions[s.Region]) <= 0 {
		return nil
	}
	m.versions[s.Region] = s.Version
	m.records[s.Region] = map[catalog.RecordKey]catalog.Record{}
	for _, r := range s.Records {
		m.records[s.Region][r.Key()] = r
	}
	return nil
}

func (m *model) Apply(d catalog.Delta, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.Version.Compare(m.versions[d.Region]) <= 0 {
		return nil
	}
	if !follows(d.Version, m.versions[d.Region]) {
		return catalog.ErrGap
	}
	m.versions[d.Region] = d.Version
	for _, k := range d.Deletes {
		delete(m.records[d.Region], k)
	}
	for _, r := range d.Upserts {
		m.records[d.Region][r.Key()] = r
	}
	return nil
}

func (m *model) Forget(region string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.versions, region)
	delete(m.records, region)
}

// origin is a region that publishes: its state, and the feed next to it.
type origin struct {
	*Tee
	region string
}

func newOrigin(region string, epoch uint64) *origin {
	m := newModel()
	o := &origin{region: region, Tee: &Tee{View: m, Feed: NewFeed(m), Now: time.Now}}
	o.found(epoch)
	return o
}

// found begins an epoch with an empty state.
func (o *origin) found(epoch uint64) {
	must(o.Reset(catalog.Snapshot{Region: o.region, Version: catalog.Version{Epoch: epoch, Seq: 1}}))
}

// publish makes one change.
func (o *origin) publish(upserts []catalog.Record, deletes ...catalog.RecordKey) {
	v := o.Version(o.region)
	v.Seq++
	must(o.Apply(catalog.Delta{Region: o.region, Version: v, Upserts: upserts, Deletes: deletes}))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// set is a small endpoint set whose content shows n.
func set(name string, n int) catalog.Record {
	return catalog.Record{Set: &catalog.EndpointSet{
		SetKey:    catalog.SetKey{Cluster: "c1", Service: catalog.ServiceName{Namespace: "shop", Name: name}},
		Source:    "file",
		Ports:     []catalog.Port{{Name: "http", Protocol: catalog.TCP, Number: 80}},
		CreatedAt: time.Unix(1700000000, 0).UTC(),
		Endpoints: []catalog.Endpoint{{
			ID: fmt.Sprint("e", n), Address: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}),
			Zone: "a", Weight: 1, Health: catalog.Healthy,
		}},
	}}
}

// eventually waits for a condition, for as long as only a broken test needs.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
