package verdicts_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/mutant"
	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/lab/verdicts"
)

// root is the module's.
const root = "../../.."

// peersPerRegion makes 51 members of memberlist in three regions.
const peersPerRegion = 17

// seed is the run's, unless VERDICTS_SEED says otherwise.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("VERDICTS_SEED")
	if text == "" {
		return 20261125
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("VERDICTS_SEED: expected a number: %v", err)
	}
	return n
}

func TestRegionsLiveWithLossAndJitterWithoutAFalseVerdictAndSeeEveryRealLoss(t *testing.T) {
	if !network.Wanted() {
		t.Skipf("takes long; set %s=1", network.Variable)
	}
	length, long, err := verdicts.Length()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := fleet.Binary(root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	results := make([]verdicts.Result, len(verdicts.Worlds()))
	var mu sync.Mutex
	t.Run("worlds", func(t *testing.T) {
		for i, w := range verdicts.Worlds() {
			t.Run(w.Name, func(t *testing.T) {
				t.Parallel()
				o := verdicts.Options{Binary: binary, World: w, Seed: seed(t) + uint64(i), Length: length, Keep: os.Getenv("FEDERATOR_LAB_RESULTS")}
				if long {
					o.PeersPerRegion = peersPerRegion
				}
				r := verdicts.Run(t, o)
				if !long && r.Elapsed > 0 {
					t.Logf("%.0f echoes, load %.1f", r.Counts.Sent, r.LoadMean)
				}
				mu.Lock()
				results[i] = r
				mu.Unlock()
				expect(t, r)
			})
		}
	})
	if long {
		publish(t, results)
	}
}

func TestAFederatorThatJudgesHastilyIsCaught(t *testing.T) {
	if !network.Wanted() {
		t.Skipf("takes long; set %s=1", network.Variable)
	}
	if _, long, err := verdicts.Length(); long || err != nil {
		t.Skipf("a control of the short run: %v", err)
	}
	binary, err := mutant.Build(t.Context(), root, t.TempDir(), mutant.JudgesHastily())
	if err != nil {
		t.Fatal(err)
	}
	r := verdicts.Run(t, verdicts.Options{Binary: binary, World: verdicts.Worlds()[0], Seed: seed(t), Length: 30 * time.Second, Patience: 15 * time.Second, UntilFalse: true})
	t.Logf("%d false verdicts", len(r.False))
	if len(r.False) == 0 {
		t.Error("expected false verdicts of a federator that takes four lost echoes for silence, found none")
	}
}

// expect fails for everything that a result must not say.
func expect(t *testing.T, r verdicts.Result) {
	t.Helper()
	for _, e := range r.False {
		t.Errorf("a false verdict: %s took %s for silent at %v", e.By, e.Of, e.At)
	}
	count := 0
	for _, l := range r.Losses {
		switch {
		case l.Excused() && l.Back > 0:
			t.Logf("not counted, another one was made instead: %s", l)
			continue
		case !l.InTime() || l.Back == 0:
			t.Errorf("expected every agent to say within %v that the region is out, and that it is back: %s", verdicts.Bound, l)
		}
		count++
	}
	if count == 0 {
		t.Error("expected a real loss that counts, found none")
	}
	if r.Counts.Answered == 0 {
		t.Error("expected answered echoes, found none")
	}
}

// publish writes the table into the docs, and all that is known to where the lab's
// results go.
func publish(t *testing.T, results []verdicts.Result) {
	t.Helper()
	for _, r := range results {
		if r.Elapsed == 0 {
			t.Fatalf("a world did not come to its end; the table stays what it was")
		}
	}
	b, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", b)
	if dir := os.Getenv("FEDERATOR_LAB_RESULTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "verdicts.json"), b, 0o644); err != nil {
			t.Error(err)
		}
	}
	table := verdicts.Table(results)
	fmt.Println(table)
	if err := verdicts.WriteInto(filepath.Join(root, "docs", "reliability.md"), "# Reliability\n", table); err != nil {
		t.Error(err)
	}
}
