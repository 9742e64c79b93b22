package federation

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// One record of the registry changes (an epoch, a claimed cluster) while 10,000
// services x 10 endpoints are known.
func BenchmarkReviewRegistryChange(b *testing.B) {
	_, c := reviewDesk(b, 10_000, 10, &reviewLedger{})
	b.Run("snapshot-of-100-regions", func(b *testing.B) {
		epoch := uint64(1)
		full, _ := c.Snapshot("r")
		for range 100 {
			name := fmt.Sprintf("x%03d", len(full.Records))
			full.Records = append(full.Records, catalog.Record{Region: &catalog.Region{Name: name, Epoch: 1}})
		}
		full.Records = append(full.Records, catalog.Record{Region: &catalog.Region{Name: "r", Epoch: 1, Clusters: []string{"c"}}})
		for b.Loop() {
			epoch++
			full.Version = catalog.Version{Epoch: epoch}
			if err := c.Reset(full, time.Now()); err != nil {
				b.Fatal(err)
			}
		}
	})
	v := c.Version("r")
	b.Run("one-delta", func(b *testing.B) {
		for b.Loop() {
			v.Seq++
			if err := c.Apply(catalog.Delta{Region: "r", Version: v, Upserts: []catalog.Record{{Region: &catalog.Region{Name: "r", Epoch: v.Seq, Clusters: []string{"c"}}}}}, time.Now()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("one-lease", func(b *testing.B) {
		for b.Loop() {
			v.Seq++
			if err := c.Apply(catalog.Delta{Region: "r", Version: v, Upserts: []catalog.Record{{Cluster: &catalog.Cluster{Name: "c", HealthTerm: v.Seq, SourceError: fmt.Sprint(v.Seq)}}}}, time.Now()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("everybody", func(b *testing.B) {
		r := &Replica{catalog: c, log: slog.New(slog.DiscardHandler)}
		r.card.Authority, r.card.Replica.Region = "r", "r"
		for b.Loop() {
			r.forgetRemoved()
			r.everybody()
		}
	})
}
