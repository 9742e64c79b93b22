// Package identity is the trust domain: who may speak for whom, and how that is
// proven on every connection.
//
// A [Root] signs one [Intermediate] per region and the [List], the signed
// statement of which roots and intermediates are valid and what is revoked. An
// Intermediate signs the leaf certificates (SPIFFE X.509-SVIDs) of its region.
// A [Verifier] holds the current list and judges chains by it; a [Source] holds
// this replica's own certificate; [TLS] joins the two into tls.Config values;
// a [Renewer] keeps the Source fresh.
//
//	root (10 years, key sealed) --signs--> list: roots, intermediates, revoked
//	  └─ intermediate of a region (1 year, key sealed to its voters)
//	       └─ leaf of a replica (24 h), operator (8 h), workload (1 h)
//
// # What is checked
//
// Go's own chain building is only the last step. Before it come the rules that
// X.509 cannot express or that libraries skip: the leaf has exactly one URI SAN,
// is no CA and has a critical KeyUsage; it was signed by the very intermediate
// that was presented; that intermediate is in the signed list; it signs
// replicas of its own region only; nothing of it is revoked. Before a list is
// known (a joiner), only pins of root keys count: [Pins].
//
// The identity of a workload names a namespace and a service account, and neither
// a region nor a cluster, because the same namespace is the same everywhere in a
// federation of clusters (KEP-1645). So every region's intermediate may sign every
// workload; what bounds that is that regions give such certificates only to pods
// that have proven themselves to an API server, and only for an hour.
//
// # Keys
//
// The key that a replica enrols with is its TLS key for good: renewal makes a
// new certificate for the same key. The renewal request, a CSR signed by that
// key, is thereby also the proof that lets a replica renew with a certificate
// that has expired while it slept, because the key is on record in its region.
// A stolen key is answered by revoking its [KeyID], which covers every
// certificate it ever had; the replica then enrols anew.
//
// CA keys leave memory only sealed (filippo.io/age) to the [SealKey] of each
// holder. A list holds several roots and several intermediates per region, so
// that they can be rotated by publishing the new before dropping the old.
package identity
