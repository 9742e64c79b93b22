package verdicts

import (
	"math/rand/v2"
	"time"
)

// Kind is how a region is lost.
type Kind string

const (
	// Isolated: every path to and from it is cut.
	Isolated Kind = "isolated"
	// Killed: its agents end by SIGKILL, its endpoints and its members of
	// memberlist at the same time.
	Killed Kind = "killed"
)

// Loss is that a region is lost.
type Loss struct {
	At     time.Duration // since the weather began
	Region string
	Kind   Kind
}

// cycle is about how often a region is lost.
const cycle = 5 * time.Minute

// Plan says when which region is lost and how, in a run of some length: once
// in each cycle, at a moment in its second sixth that the seed draws, so that
// there is time left for what follows.
func Plan(seed uint64, length time.Duration, regions []string) []Loss {
	luck := rand.New(rand.NewPCG(seed, 0x76657264))
	n := max(1, int(length/cycle))
	each := length / time.Duration(n)
	order := luck.Perm(len(regions))
	kinds := []Kind{Isolated, Killed}
	turn := luck.IntN(len(kinds))
	var all []Loss
	for i := range n {
		all = append(all, Loss{
			At:     time.Duration(i)*each + each/6 + time.Duration(luck.Int64N(int64(each/6))),
			Region: regions[order[i%len(order)]],
			Kind:   kinds[(turn+i)%len(kinds)],
		})
	}
	return all
}
