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
	d.retarget(everything())
	if len(d.probing) != 1 || !d.concerned(catalog.Changes{Services: []catalog.ServiceName{aService}}).empty() {
		t.Errorf("expected the refused set to be probed still, found %v", d.probing)
	}
	d.take(d.feeds[0], saying(set))
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

// A rule may be lifted at any moment: what turned while it refused the service must be
// known then.
func TestAFlipOfWhatAnExportRuleRefusesIsToldAllTheSame(t *testing.T) {
	d, l, h := sourceDesk(t, "kube")
	d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Healthy)))
	d.reconcile(t.Context())
	rule := catalog.Object{
		ObjectKey: catalog.ObjectKey{Kind: catalog.KindExportRule, Name: "deny"},
		Version:   catalog.ObjectVersion{Generation: 1, Region: "r"}, Spec: []byte(`{"services":["*/*"],"clusters":[]}`),
	}
	change := func(d catalog.Delta) catalog.Delta {
		l.seq++
		d.Region, d.Version = "r", catalog.Version{Epoch: 1, Seq: l.seq}
		return d
	}
	refused := catalog.Record{Object: &rule}
	if err := d.catalog.Apply(change(catalog.Delta{Upserts: []catalog.Record{refused}}), time.Now()); err != nil || d.catalog.Service(setOf("", "a").Service) != nil {
		t.Fatalf("the rule refuses nothing, so the test tests nothing: %v", err)
	}
	d.take(d.feeds[0], saying(setOf("kube", "a", catalog.Unhealthy)))
	expectSaid(t, h, "e0 unhealthy")
	if err := d.catalog.Apply(change(catalog.Delta{Deletes: []catalog.RecordKey{refused.Key()}}), time.Now()); err != nil {
		t.Fatal(err)
	}
	expectHealth(t, d, "a", catalog.Unhealthy)
}
