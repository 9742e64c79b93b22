// Package svid is a pod's side of its identity: the certificate of its service
// account, and the trust bundle, in a directory that its containers share.
//
// A [Keeper] fetches the first certificate, with a key that it makes and that leaves
// the pod with nobody, and renews it half-way through its life, with a new key.
// [Write] puts the three files in place the way the kubelet does with volumes: a
// directory of each version, and a link to the current one that is replaced in one
// step, so that certificate and key always belong together.
//
//	DIR/svid.pem   -> ..data/svid.pem     leaf and intermediate
//	DIR/key.pem    -> ..data/key.pem      PKCS #8, mode 0600
//	DIR/bundle.pem -> ..data/bundle.pem   every root of the trust domain
//	DIR/..data     -> ..svid-123
//
// Where a replica is asked, and how it proves itself first, is package enroll.
package svid
