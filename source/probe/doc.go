// Package probe checks endpoints actively: by HTTP, by a TCP connection, or by
// the gRPC health protocol.
//
// A [Prober] runs the checks of the endpoints that one replica owns the health
// of. Beginnings are spread over the interval, intervals jitter by a tenth, no
// endpoint has two probes at once, and the number of probes in flight is
// bounded. What consecutive results mean is the pure [Fold]. Every flip goes to
// a callback at once.
//
// What counts as healthy:
//
//   - http: GET of the path answers with a status from 200 to 399 within the
//     timeout. Redirects are answers; they are never followed. The body is not
//     read, and headers are bounded.
//   - tcp: a connection is established.
//   - grpc: grpc.health.v1.Health/Check answers SERVING, without TLS.
//
// A probe dials the endpoint's address and nothing else: no proxy, no name, no
// redirect can send it elsewhere.
//
// Endpoints without a check are not probed, except by [Sample], which picks a
// few endpoints of a region whose replicas fell silent, to tell a dead region
// from one that lost only its control plane. There a TCP connection to the
// first TCP port stands in for the missing check.
//
// Time is that of package time, so tests run under testing/synctest.
package probe
