// Package state is the region's Raft: what the replicas of one region agree on
// and keep durable.
//
// The heart is [State], a deterministic value with no clock, no I/O and no
// randomness. Commands go in, each in an [Envelope] that carries its id, time,
// actor and origin; a [Result] comes out, and at most one [catalog.Delta] of
// what the region exports. Replaying the same commands gives the same State on
// every replica, so the tests of the rules are tables that need no Raft.
//
// Facts the region exports are [catalog.Record]s under one version (epoch, seq);
// seq counts exported changes only. Everything else (tokens, sealed secrets, the
// audit log, the history of overwritten objects) stays inside the region.
//
// [Node] is the shell: hashicorp/raft with a bbolt log and file snapshots. It
// stamps commands with the leader's clock, hands out changes, and halts loudly,
// never skips, when the log holds a command this build does not understand. A
// command id that was seen lately returns the recorded result, so forwarding a
// command again is safe.
//
// [Voters] is the pure rule of who votes, [Node.MaintainVoters] the leader's loop
// around it. [Recover], [Node.Backup] and [Restore] are for bad days; the last
// two of them and Recover leave a state that must get a new epoch from the
// authority region ([SetEpoch]) before it may publish again.
package state
