// Package imports writes into the own Kubernetes cluster what the federation
// resolves for it: the Multi-Cluster Services API (KEP-1645), imports out.
//
// # What is written
//
// A service that any cluster exports is imported wherever its namespace exists:
//
//   - a ServiceImport, which says what it is, who exports it and at which
//     clusterset IP it is reached here;
//   - the derived Service ([DerivedName]) without a selector, whose cluster IP,
//     given by the API server, is that clusterset IP;
//   - EndpointSlices of the derived Service, each with the endpoints of one source
//     cluster, one address family and one set of port numbers, so that kube-proxy,
//     and anything else that reads Services, sends clients there.
//
// What else an exporter says of its service, such as exported labels, goes into the
// ServiceImport and nowhere else. The clusterset IPs are of the IP families in which
// the service is exported.
//
// The IP enters the ServiceImport only once the endpoints are in place, so that
// nobody is told an address that leads nowhere.
//
// # Which endpoints
//
// Those that [locality.Resolve] names for a client in this cluster's region.
// kube-proxy knows no weights, it spreads connections evenly over ready endpoints;
// shares of traffic therefore become shares of endpoints: of every locality a
// subset is listed, stable by rendezvous hashing (see apportion.go for how large
// it is and how far from the wanted shares the result can be). Wanted and achieved
// shares are in the annotation [AnnotationShares].
//
// Headless services have no address of their own to spread clients behind. Their
// clients want every backend, so every ready endpoint that may serve here is
// listed, the nearest first if there are too many (KEP-1645: "the entire set or
// the subset of ready pod IPs, depending on the implementation and endpoint
// count"), with its hostname.
//
// # Who writes
//
// One replica of the cluster at a time, the holder of a Lease. A lease does not
// fence: a writer that lost it may have a write on its way, and one that just got
// it may know less than the one before. So every object says what it was planned
// from ([Origin]) and a writer that knows less leaves it alone; and every write
// names the resourceVersion that it was decided on. Objects are written with
// update, not by server-side apply, which would merge into an object that somebody
// else made in the meantime; the status of ServiceExports, which are other people's
// objects, is applied, so that only our conditions are touched. What something else
// keeps changing back is written less and less often (contested.go), and told.
//
// # Parts
//
// [Make] is pure: the service, what decides its resolution, and the objects that
// exist go in; writes come out. [Writer] feeds it from informers and carries the
// writes out; [VIPs] is what DNS needs to know of the result.
package imports
