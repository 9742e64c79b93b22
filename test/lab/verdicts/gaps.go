package verdicts

import (
	"fmt"
	"time"

	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/lab/network/wan"
)

// gaps watches for how long paths of the WAN deliver nothing though none cut them:
// to tell whether the agents, the kernel or the weather kept the packets.
type gaps map[[2]string]*delivery

// delivery is when a path last delivered, and what it had counted then.
type delivery struct {
	at     time.Time
	counts wan.Stats
}

// longGap is what is worth a line.
const longGap = time.Second

// look returns a line for each gap of a second or more that is over.
func (g *gaps) look(n *network.Network, now time.Time) []string {
	if *g == nil {
		*g = gaps{}
	}
	var lines []string
	for _, from := range n.Regions() {
		for _, to := range n.Regions() {
			counts, err := n.Stats(from, to)
			if err != nil {
				continue // the same region
			}
			path := [2]string{from, to}
			last := (*g)[path]
			if last != nil && counts.Delivered == last.counts.Delivered && counts.Cut == last.counts.Cut {
				continue
			}
			if last != nil && now.Sub(last.at) >= longGap && counts.Cut == last.counts.Cut {
				lines = append(lines, fmt.Sprintf("from %s to %s nothing arrived for %v: %d packets were sent, %d lost alone and %d in bursts", from, to,
					now.Sub(last.at).Round(10*time.Millisecond), counts.Sent-last.counts.Sent, counts.Lost-last.counts.Lost, counts.LostInBursts-last.counts.LostInBursts))
			}
			(*g)[path] = &delivery{at: now, counts: counts}
		}
	}
	return lines
}
