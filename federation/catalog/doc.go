// Package catalog holds the nouns of the federation as Go types, and the one
// merged view of everything a replica knows.
//
// Every region publishes what it owns as a set of keyed [Record]s under one
// [Version]. A [Catalog] keeps the records of every region, own and imported
// alike, lays the fast health changes that gossip brings over them, and merges
// all of it into immutable [Service] values that the rooms downstream
// (locality, dns, xds) read without locks.
//
// The package does no I/O and has no clock: time is always an argument. Merging
// depends only on what was received and never on the order, loss or repetition
// of messages, so two replicas that received the same facts hold equal views.
package catalog
