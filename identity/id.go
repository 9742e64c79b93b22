package identity

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Kind says what sort of party an [ID] names.
type Kind string

// The parties of a trust domain.
const (
	Replica   Kind = "replica"   // spiffe://TD/federator/REGION/NAME
	Operator  Kind = "operator"  // spiffe://TD/operator/NAME
	Workload  Kind = "workload"  // spiffe://TD/ns/NAMESPACE/sa/NAME
	Authority Kind = "authority" // spiffe://TD, for signing certificates only
)

// maxID bounds a SPIFFE ID in bytes (SPIFFE-ID section 2.3).
const maxID = 2048

// ID is a parsed SPIFFE ID of the federation. IDs compare with ==.
type ID struct {
	TrustDomain string
	Kind        Kind
	// Region is set for replicas, Namespace for workloads.
	Region    string
	Namespace string
	// Name is the replica's, the operator's or the service account's.
	Name string
}

// ReplicaID names a replica of a region.
func ReplicaID(trustDomain, region, name string) ID {
	return ID{TrustDomain: trustDomain, Kind: Replica, Region: region, Name: name}
}

// OperatorID names a person or a script that operates the federation.
func OperatorID(trustDomain, name string) ID {
	return ID{TrustDomain: trustDomain, Kind: Operator, Name: name}
}

// WorkloadID names the workloads that run as a Kubernetes service account.
func WorkloadID(trustDomain, namespace, account string) ID {
	return ID{TrustDomain: trustDomain, Kind: Workload, Namespace: namespace, Name: account}
}

// AuthorityID names the signers of a trust domain.
func AuthorityID(trustDomain string) ID {
	return ID{TrustDomain: trustDomain, Kind: Authority}
}

// ParseID parses the URI SAN of a certificate. It accepts only the four forms
// listed at [Kind].
func ParseID(u *url.URL) (ID, error) {
	if u == nil {
		return ID{}, errors.New("SPIFFE ID: none given")
	}
	s := u.String()
	if len(s) > maxID {
		return ID{}, fmt.Errorf("SPIFFE ID of %d bytes: expected at most %d", len(s), maxID)
	}
	sid, err := spiffeid.FromString(s)
	if err != nil {
		return ID{}, fmt.Errorf("SPIFFE ID %q: %w", s, err)
	}
	id, ok := fromPath(sid.TrustDomain().Name(), strings.Split(sid.Path(), "/")[1:])
	if !ok {
		return ID{}, fmt.Errorf("SPIFFE ID %q: expected the path /federator/REGION/NAME, /operator/NAME, /ns/NAMESPACE/sa/NAME or none", s)
	}
	return id, nil
}

// ParseIDString parses the text form of an ID.
func ParseIDString(s string) (ID, error) {
	u, err := url.Parse(s)
	if err != nil {
		return ID{}, fmt.Errorf("SPIFFE ID: %w", err)
	}
	if u.String() != s {
		return ID{}, fmt.Errorf("SPIFFE ID %.100q: not in its canonical form", s)
	}
	return ParseID(u)
}

func fromPath(td string, p []string) (ID, bool) {
	switch {
	case len(p) == 0:
		return AuthorityID(td), true
	case len(p) == 3 && p[0] == "federator":
		return ReplicaID(td, p[1], p[2]), isLabel(p[1]) && isLabel(p[2])
	case len(p) == 2 && p[0] == "operator":
		return OperatorID(td, p[1]), true
	case len(p) == 4 && p[0] == "ns" && p[2] == "sa":
		return WorkloadID(td, p[1], p[3]), true
	}
	return ID{}, false
}

// String returns the URI, for example spiffe://acme.example/federator/us-west/a.
func (id ID) String() string { return "spiffe://" + id.TrustDomain + id.path() }

// URL returns the ID as it stands in a certificate.
func (id ID) URL() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: id.TrustDomain, Path: id.path()}
}

func (id ID) path() string {
	switch id.Kind {
	case Replica:
		return "/federator/" + id.Region + "/" + id.Name
	case Operator:
		return "/operator/" + id.Name
	case Workload:
		return "/ns/" + id.Namespace + "/sa/" + id.Name
	}
	return ""
}

// Validate reports whether the ID survives being written and read back.
func (id ID) Validate() error {
	got, err := ParseID(id.URL())
	if err != nil {
		return err
	}
	if got != id {
		return fmt.Errorf("SPIFFE ID %q: not a valid %s", id, id.Kind)
	}
	return nil
}

// ValidateTrustDomain checks the name of a trust domain: lower-case letters,
// digits, '.', '-' and '_', at most 255 bytes (SPIFFE-ID section 2.1).
func ValidateTrustDomain(td string) error {
	parsed, err := spiffeid.TrustDomainFromString(td)
	if err != nil {
		return fmt.Errorf("trust domain %q: %w", td, err)
	}
	if parsed.Name() != td || len(td) > 255 {
		return fmt.Errorf("trust domain %q: expected a bare name of at most 255 bytes, for example acme.example", td)
	}
	return nil
}

// isLabel reports whether s is a DNS label: replica and region names are.
func isLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, notInName)
}
