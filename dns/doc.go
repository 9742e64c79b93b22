// Package dns answers, for one replica, where the services of the federation
// are: authoritative DNS for one zone over UDP and TCP.
//
// # Names
//
// The zone is "clusterset.local" unless configured. Below it, following the
// Multi-Cluster Services DNS specification 1.0.0 (KEP-1645):
//
//	SERVICE.NS.svc.ZONE                            A, AAAA   addresses of the service
//	_PORT._PROTO.SERVICE.NS.svc.ZONE               SRV       one per endpoint, named ports only
//	HOSTNAME.CLUSTERID.SERVICE.NS.svc.ZONE         A, AAAA   one endpoint of a headless service
//	ADDRESS.SERVICE.NS.svc.ZONE                    A, AAAA   one endpoint of any other service
//	SERVICE.NS.svc.REGION.region.ZONE              A, AAAA   the same, from one region only
//	_PORT._PROTO.SERVICE.NS.svc.REGION.region.ZONE SRV       the same, from one region only
//	dns-version.ZONE                               TXT       "1.0.0"
//	ZONE                                           SOA, NS
//	ns.dns.ZONE                                    A, AAAA   the address the question came to
//
// ADDRESS is the endpoint's address with '-' for '.' or ':' (10-1-2-3,
// fd00--12, with a 0 added where it would begin or end with '-'). It is the SRV
// target where a service is not headless, and the HOSTNAME of a headless
// endpoint that has none. A CLUSTERID may be two labels.
//
// Every name that only leads to others (svc.ZONE, NS.svc.ZONE,
// _tcp.SERVICE.NS.svc.ZONE, CLUSTERID.SERVICE.NS.svc.ZONE of a headless service,
// REGION.region.ZONE and so on) exists without records (RFC 8020). A pinned
// name exists where the service and the region do, whether or not they meet. A
// headless service without one usable endpoint does not exist, as the
// specification asks.
//
// # Which addresses
//
// The client's locality is that of its EDNS client subnet, if the sender is in
// Config.TrustedECS; else that of its source address among the prefixes that
// clusters announce (the longest match); else the replica's own.
//
// A client that a prefix places is known: it gets one locality, drawn with the
// effective weights of its resolution, and up to 8 addresses there. Any other
// sender may be a resolver that many share: one in Config.Resolvers, a trusted
// one that sent no subnet, a subnet or a source that no prefix places. It gets up
// to 8 addresses apportioned over the localities by weight, as many as keep the
// proportions with the endpoints there are.
//
// The draw is the same for one client and one service for up to a second, so that
// its A and AAAA questions are answered from one subset; the order of the addresses
// within it is drawn anew for every answer, the first by weight. Shares therefore
// show over many clients or many seconds, not in a burst from one client. A
// headless service answers with all its endpoints, the nearest tier first.
//
// A client in a network of the replica's own cluster, Config.Cluster, gets instead
// the addresses that a service has there, Config.VIPs, where it has some: from the
// service's name, and as the one SRV target of its named ports. Where they lead is
// decided behind them.
//
// SRV lists every tier: the localities that serve now share priority 0 with
// their effective weights, each tier that stands by follows with its own. The
// weights of a priority add up to about 10000.
//
// # How
//
// Answers are prepared when the view changes. For each service and endpoint
// locality there is one wire image of its records, shared by all who are sent
// there, and for each client locality a small table of weights. Tables of the
// own region's localities are made at once, others at their first use; a change
// of the service or of the conditions outdates them. A question is then parsed,
// looked up and answered in place, without allocating.
//
// No socket opens before Run, and Run prepares everything before it opens one.
package dns
