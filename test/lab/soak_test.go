package lab_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab"
)

// soakVariable names the environment variable with the duration of the soak.
const soakVariable = "SOAK"

func TestSoak(t *testing.T) {
	if os.Getenv(soakVariable) == "" {
		t.Skipf("set %s to a duration such as 10m (make soak)", soakVariable)
	}
	need(t)
	last, err := time.ParseDuration(os.Getenv(soakVariable))
	if err != nil {
		t.Fatalf("%s: %v", soakVariable, err)
	}
	o := lab.Wide()
	o.Name, o.Seed = "soak", lab.Seed()
	w := lab.NewWorld(t, os.Getenv(fleet.BinaryVariable), o)
	w.Settle(60 * time.Second)
	began := time.Now()
	for n := 0; time.Since(began) < last && !t.Failed(); n++ {
		round := lab.Round(n)
		t.Run(round.Name, func(t *testing.T) { w.Play(t, round) })
	}
	w.End()
}

// roster is one without processes.
func roster() lab.Roster {
	who := lab.Roster{Regions: []string{"west", "east", "south"}}
	for _, region := range who.Regions {
		for i := range 3 {
			who.Replicas = append(who.Replicas, &fleet.Replica{Region: region, Name: fmt.Sprintf("%s-%d", region, i)})
			who.Workloads = append(who.Workloads, &lab.Workload{Endpoint: &fleet.Endpoint{Address: fmt.Sprintf("10.0.0.%d", len(who.Workloads))}, Region: region})
		}
	}
	return who
}

func plan(seed uint64) []string {
	var words []string
	for _, turn := range lab.Compose(rand.New(rand.NewPCG(seed, 1)), roster(), time.Minute) {
		words = append(words, turn.String())
	}
	return words
}

func TestTheSameSeedGivesTheSameScheduleAndAnotherOneAnother(t *testing.T) {
	if one, two := plan(1), plan(1); !slices.Equal(one, two) || len(one) < 5 {
		t.Errorf("expected the same five turns or more, found\n%q\n%q", one, two)
	}
	if slices.Equal(plan(1), plan(2)) {
		t.Errorf("expected another schedule, found %q twice", plan(1))
	}
}

func TestComposedFaultsNeverTouchTheSameAndAreThreeAtMost(t *testing.T) {
	for seed := range uint64(200) {
		turns := lab.Compose(rand.New(rand.NewPCG(seed, 2)), roster(), 2*time.Minute)
		for i, a := range turns {
			together := 1
			for _, b := range turns[:i] {
				if b.To <= a.From {
					continue
				}
				together++
				for _, x := range a.Fault.Touches() {
					if slices.Contains(b.Fault.Touches(), x) {
						t.Errorf("seed %d: %v and %v both touch %s", seed, a, b, x)
					}
				}
			}
			if together > 3 || a.To <= a.From || a.To > 2*time.Minute {
				t.Errorf("seed %d: expected at most three at once, each to end in time, found %d with %v", seed, together, a)
			}
		}
	}
}
