package lab_test

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab"
	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/lab/reap"
)

func TestMain(m *testing.M) {
	if reap.Child() {
		return
	}
	os.Exit(run(m))
}

// run builds the binary once, where all files of the lab are.
func run(m *testing.M) int {
	flag.Parse()
	if !network.Wanted() {
		return m.Run()
	}
	dir, end, err := reap.Files()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer end.Close()
	binary, err := fleet.Binary("../..", dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv(fleet.BinaryVariable, binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("the lab's seed: %s=%d\n", lab.SeedVariable, lab.Seed())
	return m.Run()
}

// play plays scenarios one after the other on one world.
func play(t *testing.T, o lab.Options, scenarios []lab.Scenario) {
	t.Helper()
	o.Seed = lab.Seed()
	w := lab.NewWorld(t, os.Getenv(fleet.BinaryVariable), o)
	w.Settle(60 * time.Second)
	whole := true
	for _, sc := range scenarios {
		t.Run(sc.Name, func(t *testing.T) {
			if !whole {
				t.Skip("not played: the world was not whole after a scenario before")
			}
			defer func() { whole = !t.Failed() || w.Whole(20*time.Second) == nil }()
			w.Play(t, sc)
		})
	}
	w.End()
}

func TestFederatorKeepsItsPromisesOnABadNetworkAndWhenReplicasAndRegionsDie(t *testing.T) {
	need(t)
	t.Parallel()
	play(t, lab.Wide(), lab.WideScenarios())
}

// need skips unless the lab is meant to run.
func need(t *testing.T) {
	t.Helper()
	if !network.Wanted() {
		t.Skipf("the failure lab takes minutes; %s=1 (make lab)", network.Variable)
	}
}

func TestTheSeedIsThatOfTheEnvironment(t *testing.T) {
	t.Setenv(lab.SeedVariable, strconv.Itoa(77))
	if lab.Seed() != 77 {
		t.Errorf("expected 77, found %d", lab.Seed())
	}
	t.Setenv(lab.SeedVariable, "")
	if lab.Seed() != lab.DefaultSeed {
		t.Errorf("expected the default, found %d", lab.Seed())
	}
}

func TestFederatorKeepsItsPromisesWhenDisksFailAndMembersComeAndGo(t *testing.T) {
	need(t)
	t.Parallel()
	play(t, lab.Deep(), lab.DeepScenarios())
}

func TestAScheduledDrillBeginsOnceWhateverHappensToLeaders(t *testing.T) {
	need(t)
	if os.Getenv(lab.SlowVariable) == "" {
		t.Skipf("a schedule is due by the minute: set %s=1", lab.SlowVariable)
	}
	play(t, lab.Wide(), lab.SlowScenarios())
}
