package verdicts

import (
	"slices"
	"time"
)

// episode is how far apart two reports of a member's death are at most that count
// as one.
const episode = 30 * time.Second

// PeerOutage is a loss as the members of memberlist had it.
type PeerOutage struct {
	Region       string
	Began, Ended time.Time
	// Whole is when they all knew each other again after it; zero before.
	Whole time.Time
	// Known is how long it took until all others knew that all of the region are
	// dead; 0 if some did not know when the region came back.
	Known time.Duration
}

// explains reports whether a death may be taken for real. While the region is
// lost only those between it and the others may be; from when it returns until
// all know each other again, any may, as what the region thought meanwhile goes
// round.
func (o PeerOutage) explains(d Death) bool {
	switch {
	case d.At.Before(o.Began):
		return false
	case o.Ended.IsZero() || d.At.Before(o.Ended):
		return (d.By.Region == o.Region) != (d.Of.Region == o.Region)
	}
	return o.Whole.IsZero() || d.At.Before(o.Whole.Add(settle))
}

// FalseDeaths counts deaths since a moment that no outage explains: how often a
// living member was declared dead, and how many reports of that there were.
func FalseDeaths(deaths []Death, outages []PeerOutage, since time.Time) (declared, reports int) {
	last := map[Place]time.Time{}
	deaths = slices.SortedFunc(slices.Values(deaths), func(a, b Death) int { return a.At.Compare(b.At) })
	for _, d := range deaths {
		if d.At.Before(since) || slices.ContainsFunc(outages, func(o PeerOutage) bool { return o.explains(d) }) {
			continue
		}
		reports++
		if at, ok := last[d.Of]; !ok || d.At.Sub(at) > episode {
			declared++
		}
		last[d.Of] = d.At
	}
	return declared, reports
}
