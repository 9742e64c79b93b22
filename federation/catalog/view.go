package catalog

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Reach is what this replica knows of another region.
type Reach uint8

// The states of a region as seen from here.
const (
	// Reachable: its replicas answer.
	Reachable Reach = iota
	// Silent: its replicas do not answer and the probes of its endpoints have not
	// yet decided; nothing is withdrawn.
	Silent
	// ControlPlaneLost: its replicas are silent but its workloads answer; the last
	// known state serves, marked stale.
	ControlPlaneLost
	// Out: neither replicas nor workloads answer; it serves nobody from here.
	Out
)

var reachNames = [...]string{"reachable", "silent", "control-plane-lost", "out"}

// String returns the lower-case name of the state.
func (r Reach) String() string {
	if int(r) < len(reachNames) {
		return reachNames[r]
	}
	return "invalid"
}

// MarshalText writes the name of the state.
func (r Reach) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Service is everything known of one service, merged over all clusters. Values
// are immutable; a change makes a new one.
type Service struct {
	Name     ServiceName
	Headless bool
	// Ports is the union over the exporting clusters, merged by name, then
	// protocol and number; the oldest export wins a conflict (KEP-1645).
	Ports []Port
	// Backends has one entry per exporting cluster, ordered by region and cluster.
	Backends []Backend
	// AffinitySeconds is that of the oldest export; 0 is no session affinity.
	AffinitySeconds uint32
	// Properties are those of the oldest export, without reserved keys; nil: none.
	Properties *Properties
	// Conflicts describes each property on which clusters disagreed.
	Conflicts []Conflict
}

// Backend is one cluster's part of a service.
type Backend struct {
	Region string
	Set    *EndpointSet
	// Health is the effective health of Set.Endpoints, index by index: what the
	// source says, then the region's folded health, then newer gossip, then what
	// this replica's own probes found.
	Health []Health
	// Stale is set when the region or its source cannot confirm this state now.
	Stale bool
}

// Conditions is what besides a service itself decides its resolution. Values
// are immutable.
type Conditions struct {
	// Region is the replica's own region.
	Region string
	// Isolated: every other region is silent, so the fault is probably here.
	Isolated bool
	// Reach has an entry for every known region, RTT for every measured one.
	Reach map[string]Reach
	RTT   map[string]time.Duration
	// Policies by name ("default" or "namespace/name").
	Policies map[string]Policy
	// PolicyOrigins tells of the Policies that come from a cluster which.
	PolicyOrigins map[string]PolicyOrigin
	// Evacuations in force now, by region.
	Evacuations map[string]Evacuation
	// Drills that take traffic away now, in the order of [DrillInForce.Compare].
	Drills []DrillInForce
	// CutOff is the running drill of kind [DrillIsolate] that cuts the replica's own
	// region off from the others, "" if there is none.
	CutOff string
	// Localities lists every place where an endpoint or a replica is, in order.
	Localities []Locality
	// Prefixes places clients by source address; the longest match wins.
	Prefixes map[netip.Prefix]Locality
	// Networks are the client networks that each cluster announces, by cluster. Where
	// pod networks are not one, clusters may announce the same, of which Prefixes
	// holds one: the own region's, if it is among them.
	Networks map[string][]ClientPrefix
	// Headless-name lookups need to know which clusters exist, by name.
	ClusterRegion map[string]string
}

// Policy returns the policy in force for a service: its own, or the default, or
// the zero Policy. The second result is the policy's name, "" if none applies.
func (c *Conditions) Policy(name ServiceName) (Policy, string) {
	for _, n := range []string{name.String(), DefaultPolicy} {
		if p, ok := c.Policies[n]; ok {
			return p, n
		}
	}
	return Policy{}, ""
}

// Regions returns the names of all known regions in order.
func (c *Conditions) Regions() []string { return slices.Sorted(maps.Keys(c.Reach)) }
