package catalog

import (
	"cmp"
	"fmt"
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
	for _, set := range byAge {
		if set.Headless != s.Headless {
			s.conflict(TypeConflict, set, "cluster %s says headless=%v; the oldest export, of cluster %s, says %v and wins",
				set.Cluster, set.Headless, oldest.Cluster, s.Headless)
		}
		s.compareAffinity(set, oldest)
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
