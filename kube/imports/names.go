package imports

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/federator/federator/federation/catalog"
)

// Labels and annotations of the objects written here.
const (
	// LabelImport marks an object as ours; its value is the name of the service.
	LabelImport = "federator.dev/import"
	// AnnotationOrigin holds what the object was planned from, an [Origin].
	AnnotationOrigin = "federator.dev/planned-from"
	// AnnotationShares of a ServiceImport holds the wanted and achieved shares of
	// its localities: a JSON list of [Share].
	AnnotationShares = "federator.dev/shares"
	// AnnotationCarried of a ServiceImport holds what of the exporters' labels,
	// annotations and traffic policies was written into it.
	AnnotationCarried = "federator.dev/carried"
	// AnnotationDerived of a ServiceImport names its derived Service, under the key
	// that the implementation in sigs.k8s.io/mcs-api uses and others read.
	AnnotationDerived = "multicluster.kubernetes.io/derived-service"
	// ManagedBy is the value of the managed-by label of our EndpointSlices.
	ManagedBy = "federator.dev"
	// FieldManager is the name under which the API server records our writes.
	FieldManager = "federator"
)

const (
	// nameHash is how many characters of a hash are in a derived Service's name:
	// 100 bits, so that no two services of a cluster ever share one.
	nameHash = 20
	// partHash is the same for the part of a slice's name that tells the groups of
	// one service apart: 50 bits.
	partHash = 10
	// maxLabel is the longest value that a label can have.
	maxLabel = 63
)

// DerivedName returns the name of the derived Service of an imported service: as
// the field does it, "derived-" and the start of a hash over "namespace/name", in
// lower-case base32hex. It never changes.
func DerivedName(n catalog.ServiceName) string { return "derived-" + hashed(nameHash, n.String()) }

// hashed returns the first characters of a hash over the parts.
func hashed(characters int, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return strings.ToLower(base32.HexEncoding.EncodeToString(sum[:]))[:characters]
}

// labelValue returns a cluster's id as the value of a label. An id of two DNS
// labels can be too long for one; it is cut short and told apart by a hash.
func labelValue(cluster string) string {
	if len(cluster) <= maxLabel {
		return cluster
	}
	return cluster[:maxLabel-partHash-1] + "-" + hashed(partHash, cluster)
}
