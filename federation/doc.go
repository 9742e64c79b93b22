// Package federation is the replica: it starts the rooms of the house, wires
// them to each other, and stops them in reverse order.
//
// [Init] makes a trust domain and its first region in an empty data directory,
// [Join] admits a replica to a region with a token, and [Run] runs the replica
// that a data directory describes. Everything else in here is glue between the
// rooms that may not know of each other: the region's Raft feeds the catalog,
// health flips go to gossip and are folded into Raft, silence turns into probes
// and probes into verdicts, and the leader looks after voters, secrets and the
// objects that other regions wrote.
package federation
