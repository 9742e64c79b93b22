// Package enroll lets a replica into the federation: a [Joiner] at the one end
// of ALPN fed-enroll, a [Server] at the other.
//
// A join goes in this order, and each step guards the next:
//
//  1. The joiner connects to an address of its token. TLS proves that the server
//     holds a certificate under a root that the token pins, and that it is a
//     replica of the region that issued the token. Nothing has been sent yet.
//  2. Hello tells the server's clock. If the two differ by more than five minutes
//     the join ends here, with the measured skew, before certificates with the
//     wrong times are made.
//  3. Enroll sends the token's secret and certificate requests. The server checks
//     the token, then whether the name and the cluster are free, and only then
//     redeems the token in one Raft command and admits the replica; so a refusal
//     does not cost the token.
//  4. The joiner verifies every certificate of the answer against the pins again.
//
// A repeat with the same key gets the same admission again, so a joiner that lost
// the answer just tries again. What can go wrong has a sentinel each ([ErrReused],
// [ErrNameTaken], ...), equal at both ends of the wire. Secrets appear in no
// error and no log line.
//
// [Joiner.Renew] is the way back for a replica whose certificate expired while
// it slept: the request is signed by the key that its region has on record.
package enroll
