package wan

import (
	"errors"
	"fmt"
	"time"
)

// Link is how one direction between two regions behaves. The zero value is a
// perfect wire: nothing is lost, and everything arrives at once.
type Link struct {
	// Delay is how long every packet travels; the round trip is the sum of both
	// directions.
	Delay time.Duration
	// Jitter is the most that a packet is late on top of Delay, evenly spread from
	// nothing. Packets keep their order, a late one holds up those behind it, unless
	// Overtake lets them pass.
	Jitter   time.Duration
	Overtake bool
	// Loss is the share of packets, 0 to 1, that are lost independently of each other.
	Loss float64
	// BurstEvery and BurstFor are the mean time from the end of a burst to the start
	// of the next, and the mean length of one; both are spread exponentially. During
	// a burst everything is lost. None unless both are positive.
	BurstEvery, BurstFor time.Duration
	// Reorder is the share of packets, 0 to 1, that come HoldBack later than they
	// would, while those behind them do not wait.
	Reorder  float64
	HoldBack time.Duration
	// Duplicate is the share of packets, 0 to 1, that arrive twice.
	Duplicate float64
	// Rate is the bandwidth in bytes a second, 0 for no limit. What is sent faster
	// waits in a queue of Queue bytes, and what does not fit is lost. A Queue of 0
	// holds [DefaultQueue].
	Rate, Queue int
}

// DefaultQueue is the queue of a link with a Rate and no Queue, in bytes.
const DefaultQueue = 256 << 10

// RTT is a link that is nothing but far: half of the round trip each way.
func RTT(roundTrip time.Duration) Link { return Link{Delay: roundTrip / 2} }

// Validate reports everything that is wrong with the link.
func (l Link) Validate() error {
	var errs []error
	for _, share := range []struct {
		name  string
		value float64
	}{{"Loss", l.Loss}, {"Reorder", l.Reorder}, {"Duplicate", l.Duplicate}} {
		if !(share.value >= 0 && share.value <= 1) { // also not a number
			errs = append(errs, fmt.Errorf("%s: expected a share from 0 to 1, found %v", share.name, share.value))
		}
	}
	for _, span := range []struct {
		name  string
		value time.Duration
	}{{"Delay", l.Delay}, {"Jitter", l.Jitter}, {"BurstEvery", l.BurstEvery}, {"BurstFor", l.BurstFor}, {"HoldBack", l.HoldBack}} {
		if span.value < 0 {
			errs = append(errs, fmt.Errorf("%s: expected 0 or more, found %v", span.name, span.value))
		}
	}
	if l.Rate < 0 || l.Queue < 0 {
		errs = append(errs, fmt.Errorf("expected a Rate and a Queue of 0 or more bytes, found %d and %d", l.Rate, l.Queue))
	}
	if (l.BurstEvery > 0) != (l.BurstFor > 0) {
		errs = append(errs, fmt.Errorf("expected BurstEvery and BurstFor both or none, found %v and %v", l.BurstEvery, l.BurstFor))
	}
	if l.Reorder > 0 && l.HoldBack == 0 {
		errs = append(errs, errors.New("expected a HoldBack with Reorder, found 0; set how long such packets are held back"))
	}
	return errors.Join(errs...)
}
