package federation

import (
	"context"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/source"
)

// writing keeps what a desk writes.
type writing struct {
	reviewLedger
	changes []source.Changes
}

func (w *writing) PutSets(_ context.Context, _, _ string, _ uint64, c source.Changes) error {
	w.changes = append(w.changes, c)
	return nil
}

// What an export rule refuses is published all the same: taken for missing it would
// be written again at every turn, and could never be deleted.
func TestADeskLooksAfterWhatAnExportRuleRefuses(t *testing.T) {
	l := &writing{}
	d, c := reviewDesk(t, 1, 1, &l.reviewLedger)
	d.ledger = l
	set := *c.Service(aService).Backends[0].Set
	rule := catalog.Object{
		ObjectKey: catalog.ObjectKey{Kind: catalog.KindExportRule, Name: "deny"},
		Version:   catalog.ObjectVersion{Generation: 1, Region: "r"}, Spec: []byte(`{"services":["*/*"],"clusters":[]}`),
	}
	if err := c.Apply(catalog.Delta{Region: "r", Version: catalog.Version{Epoch: 1, Seq: 2}, Upserts: []catalog.Record{{Set: &set}, {Object: &rule}}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if c.Service(aService) != nil {
		t.Fatal("the rule refuses nothing, so the test tests nothing")
	}
	d.retarget()
	if len(d.probing) != 1 || d.concerned(catalog.Changes{Services: []catalog.ServiceName{aService}}) {
		t.Errorf("expected the refused set to be probed still, found %v", d.probing)
	}
	d.take(d.feeds[0], source.Update{Sets: []catalog.EndpointSet{set}})
	d.reconcile(context.Background())
	if len(l.changes) != 0 {
		t.Errorf("expected nothing to be written, found %v", l.changes)
	}
	d.take(d.feeds[0], source.Update{})
	d.reconcile(context.Background())
	if len(l.changes) != 1 || len(l.changes[0].Deletes) != 1 {
		t.Errorf("expected the set to be deleted, found %v", l.changes)
	}
}
