// Package gossip is the fast and many-pathed half of the federation's memory.
//
// It joins every replica of every region into one memberlist and uses it for
// one thing: to carry health flips, at once, along any path that is left. A flip
// is a small versioned [catalog.HealthDelta]; each replica hands what it receives
// to the catalog, and passes on only what was news to it. Push/pull compares
// digests, and a difference is settled by asking the peer for its pending
// changes. Nothing that arrives here is the last word: the peering stream
// confirms it or it lapses, so gossip may lose, repeat and reorder.
//
// memberlist's opinion of who is dead decides nothing. Beside it, on the same UDP
// socket, the replicas exchange echoes: fifteen a second per ordered pair of
// regions, shared by the replicas of the one and rotated over those of the other,
// and five a second between siblings. From them come the round-trip times, the
// clock skew, the liveness of siblings and, by the rules of package verdict, the
// verdicts on the other regions. A sibling's answer carries what it has seen, so
// that a region judges with the eyes of all its replicas.
//
// On the wire, every UDP packet is one byte that tells memberlist packets (0x01)
// from echoes (0x02), then AES-GCM under the [Keyring], with the trust domain as
// additional data. Streams are opened through an injected dialer (mutual TLS in
// production); they begin with the same kind of byte and the trust domain.
//
// Two habits of memberlist are worked around rather than used: its keyring
// changes in place while packets are being decrypted, so sealing is done here,
// in the transport; and its stream messages trust a length field, so reliable
// messages travel in bounded frames of our own.
package gossip
