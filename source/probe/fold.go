package probe

import "github.com/federator/federator/federation/catalog"

// State is what is known of one endpoint: its health, and how many results in a
// row have spoken against it.
type State struct {
	Health  catalog.Health
	Against int
}

// Fold adds one result to a state. An unknown endpoint takes the first result
// for an answer, so that a new endpoint neither waits nor serves blindly; after
// that it takes HealthyThreshold successes in a row to become healthy and
// UnhealthyThreshold failures in a row to become unhealthy. The second result
// says whether the health changed.
func Fold(s State, ok bool, c *catalog.Check) (State, bool) {
	verdict, threshold := catalog.Unhealthy, c.UnhealthyThreshold
	if ok {
		verdict, threshold = catalog.Healthy, c.HealthyThreshold
	}
	if s.Health == verdict {
		return State{Health: verdict}, false
	}
	if s.Against++; s.Health == catalog.Unknown || s.Against >= threshold {
		return State{Health: verdict}, true
	}
	return s, false
}
