package catalog

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ConflictReason says on which property clusters disagree, in the words of the
// reasons of a ServiceExport's condition Conflict (Multi-Cluster Services API,
// v1beta1).
type ConflictReason string

// The reasons for a conflict.
const (
	PortConflict                  ConflictReason = "PortConflict"
	TypeConflict                  ConflictReason = "TypeConflict"
	SessionAffinityConflict       ConflictReason = "SessionAffinityConflict"
	SessionAffinityConfigConflict ConflictReason = "SessionAffinityConfigConflict"
	LabelsConflict                ConflictReason = "LabelsConflict"
	AnnotationsConflict           ConflictReason = "AnnotationsConflict"
	InternalTrafficPolicyConflict ConflictReason = "InternalTrafficPolicyConflict"
	TrafficDistributionConflict   ConflictReason = "TrafficDistributionConflict"
)

// Conflict is one property of a service on which the export of a cluster lost
// against an older one.
type Conflict struct {
	Reason ConflictReason
	// Cluster is whose export lost.
	Cluster string
	// Message says for people what it says and what holds.
	Message string
}

// String returns the message.
func (c Conflict) String() string { return c.Message }

// mergeProperties applies KEP-1645's conflict rule: the oldest export decides
// properties that cannot be united; ports are united by name, then by protocol
// and number.
func mergeProperties(s *Service) {
	byAge := make([]*EndpointSet, len(s.Backends))
	for i := range s.Backends {
		byAge[i] = s.Backends[i].Set
	}
	slices.SortStableFunc(byAge, func(a, b *EndpointSet) int { return a.CreatedAt.Compare(b.CreatedAt) })
	oldest := byAge[0]
	s.Headless, s.AffinitySeconds = oldest.Headless, oldest.AffinitySeconds
	s.Properties = oldest.Properties.permitted()
	for _, set := range byAge {
		if set.Headless != s.Headless {
			s.conflict(TypeConflict, set, "cluster %s says headless=%v; the oldest export, of cluster %s, says %v and wins",
				set.Cluster, set.Headless, oldest.Cluster, s.Headless)
		}
		s.compareAffinity(set, oldest)
		for _, reason := range Disagreements(set, oldest) {
			s.conflict(reason, set, "cluster %s says otherwise of %s; what the oldest export, of cluster %s, says holds", set.Cluster, propertyOf(reason), oldest.Cluster)
		}
		for _, p := range set.Ports {
			s.mergePort(p, set)
		}
	}
	slices.SortFunc(s.Ports, func(a, b Port) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(string(a.Protocol), string(b.Protocol)), int(a.Number)-int(b.Number))
	})
}

func (s *Service) conflict(reason ConflictReason, loser *EndpointSet, format string, args ...any) {
	s.Conflicts = append(s.Conflicts, Conflict{Reason: reason, Cluster: loser.Cluster, Message: fmt.Sprintf(format, args...)})
}

// compareAffinity notes a session affinity that differs from the oldest export's.
func (s *Service) compareAffinity(set, oldest *EndpointSet) {
	reason := SessionAffinityConfigConflict
	switch {
	case set.AffinitySeconds == oldest.AffinitySeconds:
		return
	case set.AffinitySeconds == 0 || oldest.AffinitySeconds == 0:
		reason = SessionAffinityConflict
	}
	s.conflict(reason, set, "cluster %s says session affinity %s; the oldest export, of cluster %s, says %s and wins",
		set.Cluster, affinity(set.AffinitySeconds), oldest.Cluster, affinity(oldest.AffinitySeconds))
}

// Disagreements returns the reasons for which the [Properties] of a set are in conflict
// with those of the oldest export. Traffic to a headless service is its clients'
// business, so that nobody disagrees about it.
func Disagreements(set, oldest *EndpointSet) (reasons []ConflictReason) {
	if set.Properties.Equal(oldest.Properties) {
		return nil
	}
	var a, b Properties
	if set.Properties != nil {
		a = *set.Properties
	}
	if oldest.Properties != nil {
		b = *oldest.Properties
	}
	for _, one := range []struct {
		differs bool
		reason  ConflictReason
	}{
		{!maps.Equal(a.Labels, b.Labels), LabelsConflict},
		{!maps.Equal(a.Annotations, b.Annotations), AnnotationsConflict},
		{!oldest.Headless && a.NodeLocal != b.NodeLocal, InternalTrafficPolicyConflict},
		{!oldest.Headless && a.distribution() != b.distribution(), TrafficDistributionConflict},
	} {
		if one.differs {
			reasons = append(reasons, one.reason)
		}
	}
	return reasons
}

// propertyOf names the property that a reason is about.
func propertyOf(reason ConflictReason) string {
	switch reason {
	case LabelsConflict:
		return "exported labels"
	case AnnotationsConflict:
		return "exported annotations"
	case InternalTrafficPolicyConflict:
		return "the internal traffic policy"
	}
	return "the traffic distribution"
}

func affinity(seconds uint32) string {
	if seconds == 0 {
		return "none"
	}
	return fmt.Sprintf("%ds", seconds)
}

func (s *Service) mergePort(p Port, set *EndpointSet) {
	for _, have := range s.Ports {
		same := have.Protocol == p.Protocol && have.Number == p.Number
		switch {
		case have.Name == p.Name && same && have.AppProtocol == p.AppProtocol:
			return
		case have.Name == p.Name && same:
			s.conflict(PortConflict, set, "cluster %s says that port %q speaks %q; an older export says %q and wins",
				set.Cluster, p.Name, p.AppProtocol, have.AppProtocol)
			return
		case have.Name == p.Name:
			s.conflict(PortConflict, set, "cluster %s exports port %q as %d/%s; an older export says %d/%s and wins",
				set.Cluster, p.Name, p.Number, p.Protocol, have.Number, have.Protocol)
			return
		case same:
			s.conflict(PortConflict, set, "cluster %s names port %d/%s %q; an older export names it %q and wins",
				set.Cluster, p.Number, p.Protocol, p.Name, have.Name)
			return
		}
	}
	s.Ports = append(s.Ports, p)
}
