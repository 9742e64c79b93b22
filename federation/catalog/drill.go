package catalog

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// The kinds of object that drills are made of. Drills, ballots and samples are
// written only by the region that they name, through commands of their own;
// gates and schedules by whoever may.
const (
	KindDrill        ObjectKind = "drill"         // Spec is a [Drill], named by its ID
	KindBallot       ObjectKind = "ballot"        // Spec is a [Ballot], named by [BallotName]
	KindDrillSamples ObjectKind = "drill-samples" // Spec is a [DrillSamples], named by [BallotName]
	KindGate         ObjectKind = "gate"          // Spec is a [Gate]
	KindSchedule     ObjectKind = "schedule"      // Spec is a [Schedule]
)

// BallotName is the name of what a region says of a drill.
func BallotName(drill, region string) string { return drill + "@" + region }

// DrillKind is what a drill does to its scope.
type DrillKind string

// The kinds of drill.
const (
	// DrillEvacuate moves traffic away from the scope.
	DrillEvacuate DrillKind = "evacuate"
	// DrillIsolate makes the replicas of a region refuse all that comes from other
	// regions, and send them nothing, as if the region were cut off.
	DrillIsolate DrillKind = "isolate"
)

// Scope is what a drill takes away: a region, narrowed to a zone or a cluster of
// it, to one service, or to both.
type Scope struct {
	Region  string      `json:"region"`
	Zone    string      `json:"zone,omitempty"`
	Cluster string      `json:"cluster,omitempty"`
	Service ServiceName `json:"service,omitzero"`
}

// String returns the scope in words, such as "us-west/a" or "us-west, cluster
// west-1, service shop/checkout".
func (s Scope) String() string {
	out := Locality{Region: s.Region, Zone: s.Zone}.String()
	if s.Cluster != "" {
		out += ", cluster " + s.Cluster
	}
	if s.Service != (ServiceName{}) {
		out += ", service " + s.Service.String()
	}
	return out
}

// Concerns reports whether a drill of the scope may touch the service.
func (s Scope) Concerns(service ServiceName) bool {
	return s.Service == (ServiceName{}) || s.Service == service
}

// Overlaps reports whether drills of both scopes could touch one service, so
// that they must not run together: all do but those of two different services.
func (s Scope) Overlaps(o Scope) bool { return s.Concerns(o.Service) || o.Concerns(s.Service) }

// Shape is how a drill goes over time: the traffic leaves over Ramp, stays away
// for Hold, and comes back over Return.
type Shape struct {
	Ramp   Duration `json:"ramp,omitempty"`
	Hold   Duration `json:"hold"`
	Return Duration `json:"return,omitempty"`
}

// Length is the whole of it.
func (s Shape) Length() time.Duration {
	return time.Duration(s.Ramp) + time.Duration(s.Hold) + time.Duration(s.Return)
}

// DrillPhase is where in its [Shape] a drill is.
type DrillPhase string

// The phases, in order.
const (
	PhasePending DrillPhase = "pending" // the regions have not agreed yet
	PhaseRamp    DrillPhase = "ramp"    // traffic is leaving
	PhaseHold    DrillPhase = "hold"    // traffic is away
	PhaseReturn  DrillPhase = "return"  // traffic is coming back
	PhaseOver    DrillPhase = "over"    // nothing is taken away any more
)

// Phase returns the phase that a running drill is in after it has run for a
// while.
func (s Shape) Phase(elapsed time.Duration) DrillPhase {
	switch ramp, hold := time.Duration(s.Ramp), time.Duration(s.Hold); {
	case elapsed < ramp:
		return PhaseRamp
	case elapsed < ramp+hold:
		return PhaseHold
	case elapsed < s.Length():
		return PhaseReturn
	}
	return PhaseOver
}

// drillStep is the step in which shares rise and fall, in parts per million: each
// costs a new resolution of everything.
const drillStep = 50_000

// Share is which part of its traffic the scope has lost after the drill has run
// for a while: parts per million, in steps of 5 %, never back to 0 before the
// drill is over nor up to all before the ramp is.
func (s Shape) Share(elapsed time.Duration) uint32 {
	part := func(gone, whole time.Duration) uint32 {
		steps := int64(1_000_000/drillStep) * int64(gone) / max(1, int64(whole))
		return max(drillStep, uint32(steps)*drillStep)
	}
	ramp, hold := time.Duration(s.Ramp), time.Duration(s.Hold)
	switch s.Phase(elapsed) {
	case PhaseRamp:
		return part(max(0, elapsed), ramp)
	case PhaseHold:
		return 1_000_000
	case PhaseReturn:
		return part(s.Length()-elapsed, s.Length()-ramp-hold)
	}
	return 0
}

// DrillState is how far the regions are with a drill.
type DrillState string

// The states of a drill.
const (
	DrillPending DrillState = "pending" // votes are being collected
	DrillRunning DrillState = "running" // a majority of the regions has granted it
	DrillEnded   DrillState = "ended"   // see [Drill.Outcome]
)

// DrillOutcome is how a drill ended.
type DrillOutcome string

// The outcomes.
const (
	OutcomeSucceeded   DrillOutcome = "succeeded"   // it ran to its end
	OutcomeStopped     DrillOutcome = "stopped"     // an operator ended it
	OutcomeAborted     DrillOutcome = "aborted"     // a rule, an alarm or a gate ended it
	OutcomeInterrupted DrillOutcome = "interrupted" // something with precedence took its place
	OutcomeRefused     DrillOutcome = "refused"     // no majority of the regions granted it
	OutcomeFailed      DrillOutcome = "failed"      // it could not be carried out
)

// Drill is a planned, bounded, reversible removal of a [Scope]. Only the region
// that coordinates it writes it; every region counts it down on its own clock,
// so that it ends everywhere whatever happens to that region.
type Drill struct {
	ID    string    `json:"id"`
	Kind  DrillKind `json:"kind"`
	Scope Scope     `json:"scope"`
	Shape Shape     `json:"shape"`
	// Objective is how long after the end of the ramp answers may still name the
	// scope; the report passes or fails it.
	Objective Duration `json:"objective,omitempty"`
	// Forced: the operator started it although its plan was unsafe; safety rules do
	// not end it, and a resolution heeds only the rule that nothing must be emptied.
	Forced bool    `json:"forced,omitempty"`
	Alarms []Alarm `json:"alarms,omitempty"`
	Reason string  `json:"reason,omitempty"`
	Actor  string  `json:"actor"`
	// Region coordinates it. Schedule is what began it, "" for an operator.
	Region   string     `json:"region"`
	Schedule string     `json:"schedule,omitempty"`
	Created  time.Time  `json:"created"`
	State    DrillState `json:"state"`
	// Begun is when a majority had granted it, by the clock of Region.
	Begun   time.Time    `json:"begun,omitzero"`
	Ended   time.Time    `json:"ended,omitzero"`
	Outcome DrillOutcome `json:"outcome,omitempty"`
	Detail  string       `json:"detail,omitempty"`
}

// Ballot is what one region says of a drill: its vote, how far it is, and
// whether it wants the drill to end. An end that any region wants ends the drill
// everywhere and is never taken back.
type Ballot struct {
	Drill  string `json:"drill"`
	Region string `json:"region"`
	// Granted is the vote; a region grants one drill at a time of those that
	// overlap, until it is Released. Reason says why not.
	Granted  bool   `json:"granted"`
	Released bool   `json:"released,omitempty"`
	Reason   string `json:"reason,omitempty"`
	// Scope is that of the drill, so that a vote can be judged without it.
	Scope Scope `json:"scope"`
	// Elapsed is how much of the drill the region had counted down when it last
	// wrote this; its replicas go on from there after a restart.
	Elapsed Duration `json:"elapsed,omitempty"`
	// Extended is what operators in this region added to the hold.
	Extended Duration `json:"extended,omitempty"`
	// Acks are the phases that have taken effect in the region's answers.
	Acks []PhaseAck `json:"acks,omitempty"`
	End  *DrillEnd  `json:"end,omitempty"`
}

// PhaseAck is one phase that took effect in a region.
type PhaseAck struct {
	Phase DrillPhase `json:"phase"`
	At    time.Time  `json:"at"` // by the region's clock
}

// DrillEnd is a region's word that a drill has to end now.
type DrillEnd struct {
	Outcome DrillOutcome `json:"outcome"`
	Reason  string       `json:"reason"`
	Actor   string       `json:"actor,omitempty"` // of an operator's stop
	At      time.Time    `json:"at"`              // by the region's clock
}

// Alarm is something that must stay good while a drill runs: exactly one of URL
// and Query is set.
type Alarm struct {
	Name string `json:"name"`
	// URL must answer a GET with a status from 200 to 299.
	URL string `json:"url,omitempty"`
	// Query is a PromQL expression for the Prometheus at Prometheus; its one value
	// must stay within Min and Max, of which at least one is set.
	Prometheus string   `json:"prometheus,omitempty"`
	Query      string   `json:"query,omitempty"`
	Min        *float64 `json:"min,omitempty"`
	Max        *float64 `json:"max,omitempty"`
}

// Gate is a lock that drills of a service may need open ([Safety]); only the
// operators that it names can open it.
type Gate struct {
	Operators []string  `json:"operators"`
	OpenUntil time.Time `json:"openUntil,omitzero"`
	OpenedBy  string    `json:"openedBy,omitempty"`
}

// Schedule begins a drill again and again, for practice. The region that it
// names coordinates its drills.
type Schedule struct {
	Region string `json:"region"`
	// Days are the weekdays ("mon" to "sun"; none: every day) and At the times of
	// day ("15:04", UTC) at which it is due.
	Days []string `json:"days,omitempty"`
	At   []string `json:"at"`
	// Blocked lists the windows in which nothing begins, and what runs ends.
	Blocked []Window `json:"blocked,omitempty"`
	Suspend bool     `json:"suspend,omitempty"`

	Kind      DrillKind `json:"kind"`
	Scope     Scope     `json:"scope"`
	Shape     Shape     `json:"shape"`
	Objective Duration  `json:"objective,omitempty"`
	Alarms    []Alarm   `json:"alarms,omitempty"`
}

// Window is a time in which scheduled drills are blocked: From and To both as
// dates with a time (RFC 3339), or both as times of day ("15:04", UTC; over
// midnight if To is not later) on Days.
type Window struct {
	From string   `json:"from"`
	To   string   `json:"to"`
	Days []string `json:"days,omitempty"`
}

// Safety is what must remain of a service whatever is taken out of its
// resolution on purpose.
type Safety struct {
	// MinRegions is how many regions have to serve it.
	MinRegions uint32 `json:"minRegions,omitempty"`
	// MinEndpointsPercent is how much of all its endpoints has to serve, 0 to 100.
	MinEndpointsPercent uint32 `json:"minEndpointsPercent,omitempty"`
	// Gates have to be open while a drill touches it.
	Gates []string `json:"gates,omitempty"`
}

// FromKubernetes begins the [Drill.Actor] of drills that users of a namespace began:
// "kubernetes:CLUSTER/NAMESPACE/NAME".
const FromKubernetes = "kubernetes:"

// ByUser reports whether users of a Kubernetes namespace began the drill.
func (d *Drill) ByUser() bool { return strings.HasPrefix(d.Actor, FromKubernetes) }

// DrillSamples is what the replicas of one region answered around a drill.
type DrillSamples struct {
	Drill  string `json:"drill"`
	Region string `json:"region"`
	// Start is when the first bucket begins, by the region's clock; each is Step long.
	Start   time.Time      `json:"start"`
	Step    Duration       `json:"step"`
	Buckets []SampleBucket `json:"buckets"`
}

// SampleBucket counts the answers of one step of time.
type SampleBucket struct {
	// Lookups counts the questions for services, Failed those of them that were
	// answered with no address or an error although the service exists.
	Lookups uint64 `json:"lookups"`
	Failed  uint64 `json:"failed,omitempty"`
	// Named counts the answers that name an endpoint of the region, by region.
	Named map[string]uint64 `json:"named,omitempty"`
	// Scope counts the answers that name an endpoint of the drill's scope.
	Scope uint64 `json:"scope,omitempty"`
	// P50 and P99 are how long answers took inside the replica.
	P50 Duration `json:"p50,omitempty"`
	P99 Duration `json:"p99,omitempty"`
}

// DrillInForce is a drill of kind [DrillEvacuate] as it acts on resolutions now.
type DrillInForce struct {
	ID    string
	Scope Scope
	// Share is the part of its traffic that the scope has lost, in parts per million.
	Share uint32
	// Begun orders drills: of two on one service the earlier counts, then the one
	// with the lower ID.
	Begun  time.Time
	Forced bool
}

// Compare orders drills by which of them counts.
func (d DrillInForce) Compare(o DrillInForce) int {
	return cmp.Or(d.Begun.Compare(o.Begun), strings.Compare(d.ID, o.ID))
}

// DrillView is everything known of one drill now.
type DrillView struct {
	// Drill is as this replica sees it: the State is [DrillEnded] as soon as some
	// region wants it to end or it is counted down here, with an outcome to match;
	// the Shape is with all extensions.
	Drill
	// Recorded is the state that the coordinating region has written.
	Recorded DrillState
	// Ballots are ordered by region.
	Ballots []Ballot
	// Elapsed is how long it has run by this replica's own count.
	Elapsed time.Duration
	Phase   DrillPhase
	// End is set when some region wants it to end: the earliest such word.
	End *DrillEnd
}

// Ballot returns what the region says of it, or nil.
func (v *DrillView) Ballot(region string) *Ballot {
	if i := slices.IndexFunc(v.Ballots, func(b Ballot) bool { return b.Region == region }); i >= 0 {
		return &v.Ballots[i]
	}
	return nil
}
