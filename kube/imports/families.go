package imports

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/federator/federator/federation/catalog"
)

// families are IP families; none where nothing is known of them.
type families struct{ four, six bool }

func (f families) with(g families) families { return families{f.four || g.four, f.six || g.six} }

// one is the family if it is one.
func (f families) one() (family corev1.IPFamily, ok bool) {
	switch f {
	case families{four: true}:
		return corev1.IPv4Protocol, true
	case families{six: true}:
		return corev1.IPv6Protocol, true
	}
	return "", false
}

// familiesOf are those in which an exporter is reached: of its Service, and of the
// endpoints that it has, which somebody may have written by hand.
func familiesOf(set *catalog.EndpointSet) (f families) {
	if p := set.Properties; p != nil {
		f = families{p.IPv4, p.IPv6}
	}
	for i := range set.Endpoints {
		four := set.Endpoints[i].Address.Is4()
		if f = f.with(families{four, !four}); f.four && f.six {
			break
		}
	}
	return f
}

// reached are the families in which any exporter is.
func (in *Input) reached() (f families) {
	for i := range in.Service.Backends {
		f = f.with(familiesOf(in.Service.Backends[i].Set))
	}
	return f
}

// narrow has a new derived Service ask for an IP of one family, if that is the only one
// in which exporters are reached: at an IP of another nothing would ever listen, and
// clients may prefer it. Clusters that have not the family refuse that; then it is as
// if nothing were known.
func (in *Input) narrow(s *corev1.Service) {
	family, ok := in.reached().one()
	if !ok || in.Facts.NoFamily || len(s.Spec.IPFamilies) > 0 && !slices.Equal(s.Spec.IPFamilies, []corev1.IPFamily{family}) {
		return
	}
	s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = new(corev1.IPFamilyPolicySingleStack), []corev1.IPFamily{family}
}

// widen has the derived Service ask for an IP of each family once exporters are reached
// in another one. It is never narrowed again: a clusterset IP is for the life of its
// import.
func (in *Input) widen(s *corev1.Service) {
	if s.Spec.IPFamilyPolicy == nil || *s.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack || isHeadless(s) {
		return
	}
	f := in.reached()
	has := func(family corev1.IPFamily) bool { return slices.Contains(s.Spec.IPFamilies, family) }
	if f.four && !has(corev1.IPv4Protocol) || f.six && !has(corev1.IPv6Protocol) {
		s.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicyPreferDualStack)
	}
}
