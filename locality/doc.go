// Package locality decides where the clients of a service are sent: which
// regions and zones, in which order, and with what share of the traffic each.
//
// [Resolve] is a pure function of one service, the conditions of the federation
// and the place a client asks from. It works in four steps:
//
//  1. Gather. The endpoints of every cluster are counted per (region, zone).
//  2. Choose. Regions that must not serve are left out: those a policy does not
//     allow, those that are out, those evacuated, those weighted zero, those that
//     a drill has taken. A step that would leave the service with nothing is set aside, in an order that
//     is the same on every replica, so that two regions which decide apart can
//     never drain a service together. Only what a policy forbids outright
//     (failoverRegions, a pinned name) is never set aside.
//  3. Rank. What is left becomes a ladder of priorities: the client's zone, its
//     region, then the other regions in the policy's order, then by measured
//     round-trip time, then by name. Regions that a policy gives weights share
//     one priority, at the rank of the best of them.
//  4. Load. Traffic is spread over priorities and localities as Envoy documents
//     it (overprovisioning, spill-over, degraded, panic, locality weights), in
//     integers, so that every replica on every machine gets the same numbers.
//
// # Health
//
// Every endpoint that exists counts in the total. Healthy ones carry traffic;
// degraded ones carry what healthy ones cannot. Unknown (a check has not decided
// yet), Unhealthy and Draining ones carry traffic only in panic. To the question
// "would an evacuation leave this service with nothing?", Unknown counts as
// something and known-dead endpoints as nothing.
//
// # Safety and drills
//
// A policy's safety says what must remain of a service. An evacuation or a drill
// that would leave less is set aside for that service, unless it was forced; so is
// every one while there is less already, for then nothing may make it worse.
// Evacuations are judged in the order in which they began, each with those before
// it in force, and drills last. [Safety] gives the judgement alone.
//
// One drill acts on a service at a time: the first by [catalog.DrillInForce.Compare]
// of those that concern the service by name. It may take a part of its scope's
// traffic only (blend.go says how), but is judged as if it took all, so that a
// drill which begins to ramp will also be able to finish. It needs something
// healthy or degraded to be left, where an evacuation is content with what is not
// known to be dead.
//
// # Unconfirmed state
//
// A region that is out, or that we cannot reach because we are isolated, is used
// only when nothing else is there, and the answer is then marked stale. A region
// whose control plane is lost serves as before, marked stale.
//
// # Shares
//
// Shares are parts per million ([Unit]) and always sum to exactly one Unit, or
// to nothing if nobody may serve. [NewTable] draws a locality by share for a
// client that is known; [Apportion] picks a few addresses that represent the
// shares, for resolvers that many clients stand behind. [Ramp] lets returning
// capacity take its share back slowly. [Explain] says in words why the answer is
// what it is.
package locality
