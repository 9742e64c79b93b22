package gossip

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
)

// Replicas of several regions receive the same deltas in any order, some lost,
// some twice, over the wire format; then each compares digests with the next one
// until nothing changes, as push/pull does.
func TestAnyOrderLossAndDuplicationOfDeltasConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		views := make([]overlay, rapid.IntRange(2, 6).Draw(t, "replicas"))
		flips := rapid.SliceOfN(rapid.Custom(drawFlip), 1, 40).Draw(t, "flips")
		for seq, d := range flips {
			d.Changes[0].Version.Seq = uint64(seq + 1) // the owner never gives one twice
		}
		var reference overlay
		for _, d := range flips {
			reference.apply(d)
			views[0].apply(d) // the owner's own
		}
		for i := 1; i < len(views); i++ {
			for _, k := range rapid.SliceOfN(rapid.IntRange(0, len(flips)-1), 0, 2*len(flips)).Draw(t, "received") {
				receiveOverTheWire(t, &views[i], flips[k])
			}
		}
		antiEntropy(t, views)
		for i := range views {
			if got, want := views[i].pending(testCluster), reference.pending(testCluster); !slices.Equal(got, want) {
				t.Fatalf("replica %d holds %v, want %v", i, got, want)
			}
		}
	})
}

func drawFlip(t *rapid.T) catalog.HealthDelta {
	d := flip(rapid.SampledFrom([]string{"e1", "e2", "e3", "e4"}).Draw(t, "endpoint"), 0)
	d.Changes[0].Health = catalog.Health(rapid.IntRange(0, int(catalog.Draining)).Draw(t, "health"))
	return d
}

func receiveOverTheWire(t *rapid.T, view *overlay, d catalog.HealthDelta) {
	messages, _ := encodeDelta(d, maxPacketMessage)
	for _, m := range messages {
		got, err := decodeDelta(m)
		if err != nil {
			t.Fatal(err)
		}
		view.apply(got)
	}
}

// antiEntropy lets neighbours in a ring exchange what their digests say differs.
func antiEntropy(t *rapid.T, views []overlay) {
	for range views {
		for i := range views {
			peer := &views[(i+1)%len(views)]
			for _, pair := range [][2]*overlay{{&views[i], peer}, {peer, &views[i]}} {
				own, theirs := pair[0].digest()[0], pair[1].digest()[0]
				if differs(own, theirs) {
					receiveOverTheWire(t, pair[0], catalog.HealthDelta{Cluster: testCluster, Changes: pair[1].pending(testCluster)})
				}
			}
		}
	}
}
