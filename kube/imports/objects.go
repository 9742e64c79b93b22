package imports

import (
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// ours reports whether an object that has the name of one of ours is ours.
func ours(object metav1.Object, service string) bool {
	return object != nil && object.GetLabels()[LabelImport] == service
}

// stamp returns the annotations with the origin put in.
func stamp(annotations map[string]string, o Origin) map[string]string {
	out := maps.Clone(annotations)
	if out == nil {
		out = map[string]string{}
	}
	out[AnnotationOrigin] = o.String()
	return out
}

// owner is the reference by which everything goes when the ServiceImport goes.
func owner(i *mcsv1beta1.ServiceImport, controller bool) metav1.OwnerReference {
	ref := metav1.OwnerReference{
		APIVersion: mcsv1beta1.GroupVersion.String(), Kind: mcsv1beta1.ServiceImportKindName, Name: i.Name, UID: i.UID,
	}
	if controller {
		ref.Controller = new(true)
	}
	return ref
}

// owned reports whether the object goes when the ServiceImport goes.
func owned(object metav1.Object, i *mcsv1beta1.ServiceImport) bool {
	return slices.ContainsFunc(object.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == i.UID })
}

// disown drops the references to ServiceImports, which are to former ones.
func disown(refs []metav1.OwnerReference) []metav1.OwnerReference {
	return slices.DeleteFunc(slices.Clone(refs), func(r metav1.OwnerReference) bool { return r.Kind == mcsv1beta1.ServiceImportKindName })
}

// newImport is the ServiceImport as it is created: its IPs come once there are
// endpoints behind them.
func (in *Input) newImport() *mcsv1beta1.ServiceImport {
	i := &mcsv1beta1.ServiceImport{ObjectMeta: metav1.ObjectMeta{
		Namespace: in.Name.Namespace, Name: in.Name.Name, Labels: map[string]string{LabelImport: in.Name.Name},
	}}
	in.shape(i)
	i.Annotations = stamp(i.Annotations, in.origin())
	return i
}

// shape sets what the exporters say of the ServiceImport.
func (in *Input) shape(i *mcsv1beta1.ServiceImport) {
	i.Spec.Ports = importPorts(in.Service.Ports)
	i.Spec.Type = mcsv1beta1.ClusterSetIP
	affinity := in.affinity()
	i.Spec.SessionAffinity, i.Spec.SessionAffinityConfig = affinity.kubernetes()
	if in.Service.Headless {
		i.Spec.Type, i.Spec.IPs = mcsv1beta1.Headless, nil
		i.Spec.SessionAffinity, i.Spec.SessionAffinityConfig = corev1.ServiceAffinityNone, nil
	}
	in.carry(i)
	i.Annotations[AnnotationDerived] = DerivedName(in.Name)
}

// address sets where the ServiceImport is reached here.
func (in *Input) address(i *mcsv1beta1.ServiceImport, shares []Share) {
	s := in.Facts.Service
	i.Spec.IPFamilies = slices.Clone(s.Spec.IPFamilies)
	i.Spec.IPs = nil
	if !in.Service.Headless {
		i.Spec.IPs = clusterIPs(s)
	}
	if len(shares) == 0 {
		delete(i.Annotations, AnnotationShares)
		return
	}
	text, err := json.Marshal(shares)
	if err == nil { // strings and integers always can be
		i.Annotations[AnnotationShares] = string(text)
	}
}

// sameImport reports whether b, made from a, says the same, status aside.
func sameImport(a, b *mcsv1beta1.ServiceImport) bool {
	return sameSpec(a, b) && maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
}

// clusterIPs are the addresses that the API server gave to a Service.
func clusterIPs(s *corev1.Service) []string {
	ips := s.Spec.ClusterIPs
	if len(ips) == 0 && s.Spec.ClusterIP != "" {
		ips = []string{s.Spec.ClusterIP}
	}
	return slices.DeleteFunc(slices.Clone(ips), func(ip string) bool { return ip == "" || ip == corev1.ClusterIPNone })
}

func isHeadless(s *corev1.Service) bool { return s.Spec.ClusterIP == corev1.ClusterIPNone }

// newService is the derived Service as it is created. It asks for the IPs that the
// ServiceImport has had so far: a clusterset IP is for the life of its import.
func (in *Input) newService() *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: in.Name.Namespace, Name: DerivedName(in.Name),
		Labels: map[string]string{LabelImport: in.Name.Name, mcsv1beta1.LabelServiceName: in.Name.Name},
	}}
	s.Spec.Type = corev1.ServiceTypeClusterIP
	s.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicyPreferDualStack)
	switch ips := in.Facts.Import.Spec.IPs; {
	case in.Service.Headless:
		s.Spec.ClusterIP = corev1.ClusterIPNone
	case len(ips) > 0 && !in.Facts.IPsTaken:
		s.Spec.ClusterIP, s.Spec.ClusterIPs = ips[0], slices.Clone(ips)
		s.Spec.IPFamilies = slices.Clone(in.Facts.Import.Spec.IPFamilies)
	}
	if !in.Service.Headless {
		in.narrow(s)
	}
	in.serve(s)
	s.Annotations = stamp(nil, in.origin())
	return s
}

// serve sets what the exporters say of the derived Service.
func (in *Input) serve(s *corev1.Service) {
	s.Spec.Ports = servicePorts(in.Service.Ports)
	affinity := in.affinity()
	s.Spec.SessionAffinity, s.Spec.SessionAffinityConfig = affinity.kubernetes()
	if in.Service.Headless {
		s.Spec.SessionAffinity, s.Spec.SessionAffinityConfig = corev1.ServiceAffinityNone, nil
	}
	s.Spec.Selector = nil
	in.widen(s)
	if !owned(s, in.Facts.Import) {
		s.OwnerReferences = append(disown(s.OwnerReferences), owner(in.Facts.Import, true))
	}
}

func sameService(a, b *corev1.Service) bool {
	return equality.Semantic.DeepEqual(a.Spec, b.Spec) && equality.Semantic.DeepEqual(a.OwnerReferences, b.OwnerReferences)
}

// newSlice is a slice as it is created, and slice one as it is changed.
func (in *Input) newSlice(l *layout) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: in.Name.Namespace, Name: l.name,
		OwnerReferences: []metav1.OwnerReference{owner(in.Facts.Import, false)},
	}}
	s.AddressType = l.family
	return in.fill(s, l)
}

// fill sets everything about a slice that is not for its life.
func (in *Input) fill(s *discoveryv1.EndpointSlice, l *layout) *discoveryv1.EndpointSlice {
	s.Labels = maps.Clone(s.Labels)
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	delete(s.Labels, corev1.IsHeadlessService)
	maps.Copy(s.Labels, sliceLabels(in, l.cluster))
	s.Annotations = stamp(s.Annotations, in.sourceOrigin(l.cluster))
	s.Ports, s.Endpoints = l.ports, l.endpoints(in.Service.Headless)
	if !owned(s, in.Facts.Import) {
		s.OwnerReferences = append(disown(s.OwnerReferences), owner(in.Facts.Import, false))
	}
	return s
}

// sameLabels reports whether the slice has the labels that it should have.
func (in *Input) sameLabels(s *discoveryv1.EndpointSlice, want map[string]string) bool {
	_, headless := s.Labels[corev1.IsHeadlessService]
	if headless != in.Service.Headless {
		return false
	}
	for k, v := range want {
		if s.Labels[k] != v {
			return false
		}
	}
	return true
}
