// Package replication carries what each region publishes to every replica of
// every other region, and keeps it there.
//
// The pieces, in the order the data takes:
//
//   - [Feed] remembers the last changes of each region next to the catalog that
//     holds their complete state, so that a stream can resume;
//   - [Server] serves one region on a gRPC stream: the changes since the version
//     that the caller holds or, where those are gone, a complete snapshot. It
//     pulls, so a slow consumer costs no buffer: it gets a new snapshot;
//   - [Importer] runs one link per remote region: it chooses an upstream (a
//     replica of the region, else a sibling that relays), receives, and hands
//     what it gets to a [Sink]. The protocol and the choice of upstreams are
//     pure (receiver, ledger); the link around them does the I/O;
//   - [Tee] is that sink: the catalog first, then the feed for siblings, then
//     the cache;
//   - [Cache] is the checkpoint on disk (bbolt) from which a replica that starts
//     cut off from everybody still answers for all.
//
// # Versions
//
// A region's state has a version (epoch, seq). A delta applies only at its
// predecessor; anything else is a gap, and a gap is healed by a complete
// snapshot. A higher epoch takes effect only with its complete snapshot. Old
// and repeated messages are ignored. So whatever is lost, repeated or reordered,
// every replica ends with the state of the source.
//
// # What comes from outside
//
// Conversion from protobuf ([RecordFromPB] and its kin) checks every field and
// bounds every count and size; an error names the field. A server holds its own
// records to the same rules and leaves out one that breaks them, so that one bad
// record does not stop a region.
//
// # How fresh is it
//
// The state of a link is derived from the freshness of its data and never from
// a connection being open: [Importer.Synced] is true only while the region was
// heard from within the stall limit and everything it announced is held. A relay
// says how old its own knowledge is, so that freshness cannot be hidden by it.
package replication
