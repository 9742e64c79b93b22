package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Properties are what an exporter says of how its service is to be used, beside its
// ports, type and session affinity: what a ServiceImport tells, and no more. They
// come from other clusters and end up among the metadata of objects there, so they
// are bounded where they are read; see [Properties.Validate]. Values are shared and
// must not be changed once published.
type Properties struct {
	// Labels and Annotations are those that a ServiceExport exports.
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// NodeLocal is the internalTrafficPolicy Local of a Service; false is Cluster.
	NodeLocal bool `json:"nodeLocal,omitempty"`
	// TrafficDistribution is that of a Service, such as "PreferSameZone"; "" is none.
	TrafficDistribution string `json:"trafficDistribution,omitempty"`
	// IPv4 and IPv6 are the ipFamilies of a Service that has IPs; neither: it is not said.
	IPv4 bool `json:"ipv4,omitempty"`
	IPv6 bool `json:"ipv6,omitempty"`
}

// The bounds of [Properties]: how many labels and annotations there are of each, the
// bytes of one annotation, and those of all keys and values together.
const (
	MaxExportedPairs   = 32
	MaxAnnotationBytes = 2 << 10
	MaxPropertyBytes   = 8 << 10
)

// The longest parts of a key, and the longest value of a label (Kubernetes).
const (
	maxKeyPrefix = 253
	maxKeyName   = 63
)

// distribution is the traffic distribution under one of its names: PreferClose is the
// former one of PreferSameZone (Kubernetes' API reference, ServiceSpec).
func (p *Properties) distribution() string {
	if p.TrafficDistribution == "PreferClose" {
		return "PreferSameZone"
	}
	return p.TrafficDistribution
}

// Empty reports whether nothing is said; so do nil Properties.
func (p *Properties) Empty() bool {
	return p == nil || len(p.Labels) == 0 && len(p.Annotations) == 0 && !p.NodeLocal && p.TrafficDistribution == "" && !p.IPv4 && !p.IPv6
}

// Equal reports whether both say the same.
func (p *Properties) Equal(q *Properties) bool {
	if p == q || p.Empty() || q.Empty() {
		return p.Empty() == q.Empty()
	}
	return maps.Equal(p.Labels, q.Labels) && maps.Equal(p.Annotations, q.Annotations) &&
		p.NodeLocal == q.NodeLocal && p.TrafficDistribution == q.TrafficDistribution && p.IPv4 == q.IPv4 && p.IPv6 == q.IPv6
}

// Bytes is the size of all keys and values together.
func (p *Properties) Bytes() int {
	if p == nil {
		return 0
	}
	n := len(p.TrafficDistribution)
	for _, pairs := range []map[string]string{p.Labels, p.Annotations} {
		for k, v := range pairs {
			n += len(k) + len(v)
		}
	}
	return n
}

// Validate reports the first violation of the bounds: what an API server would
// refuse, or what could fill one up. Keys that are reserved are no violation; see
// [ReservedKey].
func (p *Properties) Validate() error {
	switch {
	case p == nil:
		return nil
	case len(p.Labels) > MaxExportedPairs || len(p.Annotations) > MaxExportedPairs:
		return fmt.Errorf("%d labels and %d annotations, expected at most %d of each", len(p.Labels), len(p.Annotations), MaxExportedPairs)
	case p.Bytes() > MaxPropertyBytes:
		return fmt.Errorf("%d bytes, expected at most %d", p.Bytes(), MaxPropertyBytes)
	case p.TrafficDistribution != "" && !isKeyName(p.TrafficDistribution):
		return fmt.Errorf("traffic distribution %.80q: expected one word such as PreferSameZone", p.TrafficDistribution)
	}
	for _, k := range slices.Sorted(maps.Keys(p.Labels)) {
		if err := ValidateExportedLabel(k, p.Labels[k]); err != nil {
			return fmt.Errorf("label %.80q: %w", k, err)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(p.Annotations)) {
		if err := ValidateExportedAnnotation(k, p.Annotations[k]); err != nil {
			return fmt.Errorf("annotation %.80q: %w", k, err)
		}
	}
	return nil
}

// ValidateExportedLabel reports whether a label may be told other clusters. All that
// it accepts, Kubernetes does.
func ValidateExportedLabel(key, value string) error {
	if err := validateKey(key); err != nil {
		return err
	}
	if value != "" && !isKeyName(value) {
		return fmt.Errorf("its value is none that a label can have: at most %d letters, digits, '-', '_' and '.'", maxKeyName)
	}
	return nil
}

// ValidateExportedAnnotation is the same for an annotation: text of up to
// [MaxAnnotationBytes], which nothing in it can make a terminal act on.
func ValidateExportedAnnotation(key, value string) error {
	if err := validateKey(key); err != nil {
		return err
	}
	switch {
	case len(value) > MaxAnnotationBytes:
		return fmt.Errorf("its value has %d bytes, expected at most %d", len(value), MaxAnnotationBytes)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, isControl):
		return fmt.Errorf("its value has control characters besides tabs and line breaks")
	}
	return nil
}

func isControl(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }

// reservedDomains are those whose keys mean something to Kubernetes or to us.
func reservedDomains() []string {
	return []string{"kubernetes.io", "k8s.io", "x-k8s.io", "federator.dev"}
}

// ReservedKey reports whether the key of a label or annotation belongs to a domain,
// or to a part of one, of which the own cluster alone may speak: no exporter writes
// into its objects with them.
func ReservedKey(key string) bool {
	prefix, _, ok := strings.Cut(key, "/")
	return ok && slices.ContainsFunc(reservedDomains(), func(domain string) bool {
		return prefix == domain || strings.HasSuffix(prefix, "."+domain)
	})
}

// permitted returns the properties without reserved keys: an exporter of this build
// leaves them out, and no other may bring them in.
func (p *Properties) permitted() *Properties {
	if p == nil {
		return nil
	}
	out := *p
	out.Labels, out.Annotations = unreserved(p.Labels), unreserved(p.Annotations)
	return &out
}

func unreserved(pairs map[string]string) map[string]string {
	reserved := func(k, _ string) bool { return ReservedKey(k) }
	for k := range pairs {
		if ReservedKey(k) {
			pairs = maps.Clone(pairs)
			maps.DeleteFunc(pairs, reserved)
			return pairs
		}
	}
	return pairs
}

// validateKey reports whether s is [PREFIX/]NAME: a DNS name of at most 253
// characters, and a name of at most 63.
func validateKey(s string) error {
	prefix, name, ok := strings.Cut(s, "/")
	if !ok {
		prefix, name = "", s
	}
	if !isKeyName(name) || ok && !isDNSName(prefix) {
		return fmt.Errorf("it is no key: expected NAME or DOMAIN/NAME, the name of at most %d letters, digits, '-', '_' and '.', the domain in lower case", maxKeyName)
	}
	return nil
}

func isDNSName(s string) bool {
	if len(s) > maxKeyPrefix {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

// isKeyName reports whether s is 1 to 63 letters, digits, '-', '_' and '.', the first
// and the last a letter or digit.
func isKeyName(s string) bool {
	if s == "" || len(s) > maxKeyName || !isAlphanumeric(s[0]) || !isAlphanumeric(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
