package catalog

import (
	"cmp"
	"fmt"
	"strings"
)

// ServiceName names a service across the federation: a namespace and a name,
// both DNS labels (RFC 1123), written "namespace/name".
type ServiceName struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String returns "namespace/name".
func (n ServiceName) String() string { return n.Namespace + "/" + n.Name }

// Compare orders names by namespace, then by name.
func (n ServiceName) Compare(o ServiceName) int {
	return cmp.Or(strings.Compare(n.Namespace, o.Namespace), strings.Compare(n.Name, o.Name))
}

// Validate reports whether both parts are DNS labels.
func (n ServiceName) Validate() error {
	if err := ValidateLabel("namespace", n.Namespace); err != nil {
		return err
	}
	return ValidateLabel("service name", n.Name)
}

// ParseServiceName parses "namespace/name".
func ParseServiceName(s string) (ServiceName, error) {
	ns, name, ok := strings.Cut(s, "/")
	if !ok {
		return ServiceName{}, fmt.Errorf("service %q: expected NAMESPACE/NAME, for example shop/checkout", s)
	}
	n := ServiceName{Namespace: ns, Name: name}
	return n, n.Validate()
}

// Locality is where an endpoint is, or where a client asks from. An empty Zone
// means that only the region is known.
type Locality struct {
	Region string `json:"region"`
	Zone   string `json:"zone,omitempty"`
}

// String returns "region/zone", or "region" where the zone is unknown.
func (l Locality) String() string {
	if l.Zone == "" {
		return l.Region
	}
	return l.Region + "/" + l.Zone
}

// Compare orders localities by region, then by zone.
func (l Locality) Compare(o Locality) int {
	return cmp.Or(strings.Compare(l.Region, o.Region), strings.Compare(l.Zone, o.Zone))
}

// ParseLocality parses "REGION" or "REGION/ZONE".
func ParseLocality(s string) (Locality, error) {
	region, zone, ok := strings.Cut(s, "/")
	if err := ValidateLabel("region", region); err != nil {
		return Locality{}, err
	}
	if ok {
		if err := ValidateLabel("zone", zone); err != nil {
			return Locality{}, err
		}
	}
	return Locality{Region: region, Zone: zone}, nil
}

// ValidateLabel reports whether s is a DNS label (RFC 1123: 1 to 63 lower-case
// letters, digits and hyphens, neither first nor last a hyphen). what names the
// thing in the error.
func ValidateLabel(what, s string) error {
	if isLabel(s) {
		return nil
	}
	return fmt.Errorf("%s %q: expected a DNS label (1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit)", what, s)
}

// ValidateCluster reports whether s is a cluster id: one or two DNS labels
// joined by a dot (Multi-Cluster Services DNS specification 1.0.0).
func ValidateCluster(s string) error {
	first, second, two := strings.Cut(s, ".")
	if isLabel(first) && (!two || isLabel(second)) {
		return nil
	}
	return fmt.Errorf("cluster %q: expected one DNS label, or two joined by a dot", s)
}

func isLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
