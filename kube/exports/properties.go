package exports

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

// namedKeys is how many keys that are left out a message names.
const namedKeys = 5

// propertiesOf is what an export and its Service say besides, nil if that is nothing.
// What other clusters would not take over is left out, and the export is valid all
// the same. The labels and annotations of the objects themselves are never exported
// (KEP-1645): tools put theirs there.
func propertiesOf(export *mcs.ServiceExport, service *corev1.Service, left *leftOut) *catalog.Properties {
	p := &catalog.Properties{NodeLocal: nodeLocal(service)}
	if service.Spec.ClusterIP != corev1.ClusterIPNone { // else its families are not those of an IP
		p.IPv4 = slices.Contains(service.Spec.IPFamilies, corev1.IPv4Protocol)
		p.IPv6 = slices.Contains(service.Spec.IPFamilies, corev1.IPv6Protocol)
	}
	if d := service.Spec.TrafficDistribution; d != nil && (&catalog.Properties{TrafficDistribution: *d}).Validate() == nil {
		p.TrafficDistribution = *d
	}
	c := carrier{room: catalog.MaxPropertyBytes - p.Bytes()}
	p.Labels = c.carry("label", export.Spec.ExportedLabels, catalog.ValidateExportedLabel)
	p.Annotations = c.carry("annotation", export.Spec.ExportedAnnotations, catalog.ValidateExportedAnnotation)
	left.keys = c.left
	left.local = p.NodeLocal && service.Spec.ClusterIP != corev1.ClusterIPNone
	if p.Empty() {
		return nil
	}
	return p
}

func nodeLocal(service *corev1.Service) bool {
	policy := service.Spec.InternalTrafficPolicy
	return policy != nil && *policy == corev1.ServiceInternalTrafficPolicyLocal
}

// carrier takes over labels and annotations as long as there is room.
type carrier struct {
	room int      // in bytes
	left []string // what was not taken over, and why
}

// The reasons besides those of the catalog.
var (
	errReserved = errors.New("its domain is reserved")
	errMany     = fmt.Errorf("there are more than %d", catalog.MaxExportedPairs)
	errLarge    = fmt.Errorf("all together have more than %d bytes", catalog.MaxPropertyBytes)
)

// carry takes over pairs in the order of their keys.
func (c *carrier) carry(kind string, pairs map[string]string, validate func(key, value string) error) map[string]string {
	var out map[string]string
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		value := pairs[key]
		err := validate(key, value)
		switch {
		case err != nil:
		case catalog.ReservedKey(key):
			err = errReserved
		case len(out) == catalog.MaxExportedPairs:
			err = errMany
		case len(key)+len(value) > c.room:
			err = errLarge
		}
		if err != nil {
			c.left = append(c.left, fmt.Sprintf("%s %.80q (%v)", kind, key, err))
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[key] = value
		c.room -= len(key) + len(value)
	}
	return out
}

// named lists keys that are left out, the first few by name.
func named(keys []string) string {
	if n := len(keys) - namedKeys; n > 0 {
		return strings.Join(keys[:namedKeys], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(keys, ", ")
}
