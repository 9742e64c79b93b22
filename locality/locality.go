package locality

import (
	"time"

	"github.com/federator/federator/federation/catalog"
)

// Unit is the whole that shares and factors are parts of: parts per million.
const Unit = 1_000_000

// The built-in defaults of a [catalog.Policy].
const (
	DefaultOverprovisioning = 140
	DefaultPanicThreshold   = 50
	DefaultRamp             = 10 * time.Second
)

// Input is everything a resolution depends on.
type Input struct {
	Service    *catalog.Service
	Conditions *catalog.Conditions
	// Client is where the client asks from; without a region it is the replica's
	// own region.
	Client catalog.Locality
	// Pin, when set, is the only region that may serve.
	Pin string
	// Ramp says how much of returning capacity is admitted; see [Ramp].
	Ramp Factors
}

// Factors are the admitted parts of the healthy capacity of localities, in parts
// per million. Localities that are not listed are admitted in full.
type Factors map[catalog.Locality]uint32

// Resolution says where the clients of one service at one place are sent.
// Everything in it is ordered and depends on the [Input] alone.
type Resolution struct {
	Service catalog.ServiceName `json:"service"`
	Client  catalog.Locality    `json:"client"`
	// Policy is the name of the policy in force, "" for the built-in defaults.
	Policy string `json:"policy,omitempty"`
	// Priorities never has an empty one, so their indices have no gaps. Their
	// loads sum to 100, unless there are none.
	Priorities []Priority `json:"priorities,omitempty"`
	// Omitted lists the localities that must not serve, and why.
	Omitted []Omission `json:"omitted,omitempty"`
	// Ignored lists what would have been omitted too, had anything else been left.
	Ignored []Omission `json:"ignored,omitempty"`
	// Stale: some traffic goes where nobody can confirm the state now.
	Stale bool `json:"stale,omitempty"`
	// Degraded: some traffic goes to degraded endpoints.
	Degraded bool `json:"degraded,omitempty"`
	// Panic: some traffic goes to a priority in panic.
	Panic bool `json:"panic,omitempty"`
	// Drill is the drill that acts on the service, if it touches anything that could
	// serve here and is not set aside.
	Drill *Drill `json:"drill,omitempty"`

	in Input
}

// Drill is a drill as it acts on one service.
type Drill struct {
	ID    string        `json:"id"`
	Scope catalog.Scope `json:"scope"`
	// Share is the part of its traffic that the scope loses, in parts per million.
	Share uint32 `json:"share"`
}

// Priority is one step of the failover ladder.
type Priority struct {
	// Load is the percentage of all traffic that this priority gets, and
	// DegradedLoad the part of it that goes to degraded endpoints.
	Load         uint32 `json:"load"`
	DegradedLoad uint32 `json:"degradedLoad,omitempty"`
	// Health is min(100, floor(overprovisioning * healthy / total)), before any ramp.
	Health uint32 `json:"health"`
	// Panic: health is ignored here and every endpoint serves.
	Panic bool `json:"panic,omitempty"`
	// Weighted: its regions share it by the weights of the policy.
	Weighted   bool       `json:"weighted,omitempty"`
	Localities []Locality `json:"localities"`
}

// Locality is one (region, zone) of a priority. A (region, zone) appears at most
// once in a resolution.
type Locality struct {
	catalog.Locality
	// Why the region has its rank, and RTT where that is [ByMeasurement].
	Why Reason        `json:"why"`
	RTT time.Duration `json:"rtt,omitempty"`
	// Configured is the weight within the priority before health, in parts per
	// million of the priority: what the policy says, by default in proportion to
	// the weights of the endpoints.
	Configured uint32 `json:"configured"`
	// Weight is the effective share of all traffic, in parts per million.
	Weight uint32 `json:"weight"`
	// Serving tells which endpoints serve: resolutions of the same Service value have
	// the same endpoints in use at a (region, zone) if they have the same Serving.
	Serving Serving `json:"serving"`
	// Total, Healthy and Degraded count endpoints.
	Total    int `json:"total"`
	Healthy  int `json:"healthy"`
	Degraded int `json:"degraded,omitempty"`
	// Drilled counts the endpoints that the drill takes traffic from. Once it takes
	// all of it they are listed, but neither serve nor count in Total.
	Drilled int `json:"drilled,omitempty"`
	// Admitted is the part of the healthy capacity that is let in, in parts per
	// million; less than [Unit] while the locality ramps up.
	Admitted uint32 `json:"admitted"`
	// Stale: nobody can confirm the state of some of these endpoints now.
	Stale     bool       `json:"stale,omitempty"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Endpoint is one endpoint of a locality.
type Endpoint struct {
	*catalog.Endpoint
	Cluster string `json:"cluster"`
	// Health is the effective health.
	Health catalog.Health `json:"health"`
	// Weight is the endpoint's share relative to the others of its locality; 0
	// means that it serves nobody now. The configured weight is Endpoint.Weight.
	Weight uint32 `json:"weight"`
	// Drilled: it is in the scope of the drill that acts.
	Drilled bool `json:"drilled,omitempty"`
}

// Omission is a locality that is left out. Zone is empty where the whole region
// is, Cluster is set where a drill takes only the endpoints of that cluster.
type Omission struct {
	catalog.Locality
	Cluster string `json:"cluster,omitempty"`
	Cause   Cause  `json:"cause"`
	// Drill is the ID of the drill, if that is the cause.
	Drill string `json:"drill,omitempty"`
	// Rule is why it was set aside, in words, beginning with a verb ("would leave 1
	// region serving, the policy asks for 2"); "" where nothing that may serve would
	// have been left.
	Rule string `json:"rule,omitempty"`
}

// String returns what is left out, such as "us-west/a" or "us-west, cluster west-1".
func (o Omission) String() string {
	return catalog.Scope{Region: o.Region, Zone: o.Zone, Cluster: o.Cluster}.String()
}

// Serving is a set of the endpoints that serve in a locality.
type Serving uint8

// The parts of a [Serving].
const (
	ServeHealthy  Serving = 1 << iota // the healthy ones
	ServeDegraded                     // the degraded ones
	ServeAll                          // every one, for panic
	// ServeUndrilled: none of those that a drill has taken out.
	ServeUndrilled
)

// String returns "none", "healthy", "degraded", "healthy+degraded" or "all", and
// "undrilled" behind it if those taken out by a drill are not meant.
func (s Serving) String() string {
	if s&ServeUndrilled != 0 {
		return (s &^ ServeUndrilled).String() + ", undrilled"
	}
	switch {
	case s&ServeAll != 0:
		return "all"
	case s == ServeHealthy|ServeDegraded:
		return "healthy+degraded"
	case s == ServeHealthy:
		return "healthy"
	case s == ServeDegraded:
		return "degraded"
	}
	return "none"
}

// MarshalText writes the name of the set.
func (s Serving) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// includes reports whether an endpoint of the given health serves.
func (s Serving) includes(h catalog.Health) bool {
	return s&ServeAll != 0 ||
		s&ServeHealthy != 0 && h == catalog.Healthy ||
		s&ServeDegraded != 0 && h == catalog.Degraded
}

// Reason is why a locality has its rank.
type Reason uint8

// The reasons, best rank first.
const (
	SameZone      Reason = iota // the client's own zone
	SameRegion                  // the client's own region
	ByPolicy                    // the region order of the policy
	ByMeasurement               // the measured round-trip time
	ByName                      // nothing known: the name
)

var reasonNames = [...]string{"same-zone", "same-region", "policy-order", "round-trip-time", "name"}

// String returns the name of the reason.
func (r Reason) String() string { return nameOf(reasonNames[:], int(r)) }

// MarshalText writes the name of the reason.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Cause is why a locality is left out.
type Cause uint8

// The causes, in the order in which they are applied. A policy's failoverRegions
// and a pinned region always hold; the others are set aside, the last first,
// where they would leave nothing, and evacuations and drills also where a rule of
// the policy's safety would not be met ([Safety]).
const (
	NotPinned  Cause = iota // the name asked for pins another region
	NotAllowed              // the policy's failoverRegions do not list it
	RegionOut               // neither its replicas nor its endpoints answer from here
	WeIsolated              // we are cut off from every other region
	Evacuated               // an operator took the region out
	ZeroWeight              // the policy gives it weight 0
	Drilled                 // a drill takes it away, for practice
)

var causeNames = [...]string{"not-pinned", "not-in-failover-regions", "out", "isolated", "evacuated", "zero-weight", "drilled"}

// String returns the name of the cause.
func (c Cause) String() string { return nameOf(causeNames[:], int(c)) }

// MarshalText writes the name of the cause.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "invalid"
}

// Empty reports whether nobody serves: the service has no endpoint that the
// policy allows, or all are dead and the policy turned panic off.
func (r Resolution) Empty() bool {
	for i := range r.Priorities {
		for j := range r.Priorities[i].Localities {
			if r.Priorities[i].Localities[j].Weight > 0 {
				return false
			}
		}
	}
	return true
}
