package identity

import (
	"crypto"
	"fmt"
	"strings"
	"time"
)

// Lifetimes of a workload's certificate. What is not renewed is over soon, which is
// also the only way in which one is revoked.
const (
	WorkloadTTL    = time.Hour
	MinWorkloadTTL = 5 * time.Minute
	MaxWorkloadTTL = 24 * time.Hour
)

// maxAccount bounds the name of a service account in bytes, as Kubernetes does.
const maxAccount = 253

// WorkloadRequest asks for the certificate of the pods that run as a Kubernetes
// service account.
type WorkloadRequest struct {
	Namespace, ServiceAccount string
	PublicKey                 crypto.PublicKey
	// TTL is MinWorkloadTTL to MaxWorkloadTTL, zero means WorkloadTTL; it is cut to
	// what the intermediate has left.
	TTL time.Duration
}

// SignWorkload returns the chain leaf, intermediate, root in DER. The leaf names its
// one SPIFFE ID and no DNS name or address: who calls it knows it by that ID.
// That the key belongs to a pod of that account is for the caller to know.
func (i *Intermediate) SignWorkload(r WorkloadRequest, now time.Time) ([][]byte, error) {
	if err := validateWorkload(r.Namespace, r.ServiceAccount); err != nil {
		return nil, err
	}
	ttl := ttlOr(r.TTL, WorkloadTTL)
	if ttl < MinWorkloadTTL || ttl > MaxWorkloadTTL {
		return nil, fmt.Errorf("certificate of a workload: expected a lifetime of %s to %s, found %s", MinWorkloadTTL, MaxWorkloadTTL, ttl)
	}
	id := WorkloadID(i.trustDomain, r.Namespace, r.ServiceAccount)
	return i.signLeaf(leafTemplate(id, nil, nil, now, ttl), id, r.PublicKey, now)
}

// CheckWorkload reports whether a request may become the certificate of a service
// account: it names nothing, or that very identity, and no DNS name or address.
func (r *Request) CheckWorkload(id ID) error {
	if id.Kind != Workload {
		return fmt.Errorf("%s: expected a workload", id)
	}
	if err := validateWorkload(id.Namespace, id.Name); err != nil {
		return err
	}
	if r.ID != (ID{}) && r.ID != id {
		return fmt.Errorf("certificate request: expected the identity %s or none, found %s", id, r.ID)
	}
	if len(r.DNSNames)+len(r.IPs) > 0 {
		return fmt.Errorf("certificate request of %s: expected no DNS names or addresses, found %d", id, len(r.DNSNames)+len(r.IPs))
	}
	return nil
}

// validateWorkload checks the names as Kubernetes does: a label and a subdomain
// (RFC 1123).
func validateWorkload(namespace, account string) error {
	if !isLabel(namespace) {
		return fmt.Errorf("namespace %.80q: expected a DNS label", namespace)
	}
	if len(account) == 0 || len(account) > maxAccount {
		return fmt.Errorf("service account of %d bytes: expected 1 to %d", len(account), maxAccount)
	}
	for part := range strings.SplitSeq(account, ".") {
		// Unlike in host names the parts have no length of their own.
		if part == "" || part[0] == '-' || part[len(part)-1] == '-' || strings.ContainsFunc(part, notInName) {
			return fmt.Errorf("service account %.80q: expected lower-case letters, digits, hyphens and dots", account)
		}
	}
	return nil
}

func notInName(c rune) bool {
	return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-'
}
