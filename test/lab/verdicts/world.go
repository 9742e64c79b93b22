package verdicts

import (
	"time"

	"github.com/federator/federator/test/lab/network/wan"
)

// Weather is how every path between two regions behaves for a while.
type Weather struct {
	// Says describes it in the table.
	Says string
	Link wan.Link
}

// World is what the regions have to live with.
type World struct {
	Name string
	// Weathers come in turn, one for each loss of a region.
	Weathers []Weather
}

// mild is the world without what is bad in it.
func (w World) mild() wan.Link { return wan.Link{Delay: base} }

// base is how far the regions are apart, one way.
const base = 50 * time.Millisecond

// Worlds are those of the promise: 20 % loss, and 300 ms jitter.
//
// Each has two kinds of weather. Loss in bursts is what tests the rule most, as
// it takes many echoes at once; bursts of 2 s would be losses of a region, and
// those of 150 ms on average are as rare as one in 600,000. Jitter that lets
// packets overtake each other is what most emulators do: answers come after later
// ones, and TCP takes late segments for lost. Jitter that keeps their order is
// what queues do: nearly every packet waits for a late one before it, so that
// the round trip is near 700 ms all the time, more than memberlist's LAN timeout.
func Worlds() []World {
	return []World{
		{Name: "20 % loss", Weathers: []Weather{
			{"20 % of packets, each alone, and bursts of 150 ms every 3 s", wan.Link{
				Delay: base, Jitter: 5 * time.Millisecond, Loss: 0.2, BurstEvery: 3 * time.Second, BurstFor: 150 * time.Millisecond}},
			{"20 % of packets, each alone", wan.Link{Delay: base, Jitter: 5 * time.Millisecond, Loss: 0.2}},
		}},
		{Name: "300 ms jitter", Weathers: []Weather{
			{"each packet up to 300 ms late, overtaken by others", wan.Link{Delay: base, Jitter: 300 * time.Millisecond, Overtake: true}},
			{"each packet up to 300 ms late, in order", wan.Link{Delay: base, Jitter: 300 * time.Millisecond}},
		}},
	}
}
