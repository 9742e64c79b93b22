// Package port is the one TCP port of a replica: every connection is TLS 1.3 and
// is told apart by ALPN.
//
//	fed-raft    Raft of the region, its own replicas only
//	fed-gossip  streams of memberlist, replicas of the trust domain
//	h2          gRPC: peering and the operator API
//	fed-enroll  gRPC for those who have no certificate yet: enrolment only
//
// A [Port] accepts and handshakes, and hands each connection to the listener of
// its protocol. A client has to name exactly one protocol that is served here;
// its certificate is then judged by the rules of that protocol, before anything
// behind the port sees the connection. A [Dialer] is the other end. Both have
// their connections watched by an identity.Guard, which closes those whose peer
// lost its trust, because TLS never verifies an open connection again.
//
// What an unproven stranger can cost is bounded: connections, handshakes at a
// time and per address, their duration, and the rate of enrolment.
//
// [ListenLocal] is the Unix socket beside the port, on which the kernel says who
// calls.
package port
