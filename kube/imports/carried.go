package imports

import (
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

// carried is what was last written into a ServiceImport of what its exporters say of
// the service besides: what is to be taken out again, and what was asked of the API
// server. A definition of the API that is older than a field drops it without a word,
// so that the object alone does not tell whether it is as it should be.
type carried struct {
	// Labels and Annotations are keys, in order.
	Labels      []string `json:"labels,omitempty"`
	Annotations []string `json:"annotations,omitempty"`
	// The fields of the spec, "" where they are not set or as they are by default.
	InternalTrafficPolicy string `json:"internalTrafficPolicy,omitempty"`
	TrafficDistribution   string `json:"trafficDistribution,omitempty"`
}

// carriedBy reads what is carried by an object with the annotations. What cannot be
// read is as if there were nothing.
func carriedBy(annotations map[string]string) (c carried) {
	if json.Unmarshal([]byte(annotations[AnnotationCarried]), &c) != nil {
		return carried{}
	}
	return c
}

// carry writes the properties of the service into its ServiceImport, and there only:
// controllers of the cluster act on what Services say, and no other cluster is to
// give them orders. For the same reason the derived Service stays without traffic
// policies: Local would drop all traffic that has to leave a node, and zones are
// decided by the resolution.
func (in *Input) carry(i *mcsv1beta1.ServiceImport) {
	var p catalog.Properties
	if in.Service.Properties != nil {
		p = *in.Service.Properties
	}
	was, next := carriedBy(i.Annotations), carried{}
	i.Labels, next.Labels = exchange(i.Labels, was.Labels, p.Labels)
	i.Annotations, next.Annotations = exchange(i.Annotations, was.Annotations, p.Annotations)
	i.Spec.InternalTrafficPolicy, i.Spec.TrafficDistribution = nil, nil
	if !in.Service.Headless {
		i.Spec.InternalTrafficPolicy = new(internalTraffic(&p))
		if p.NodeLocal {
			next.InternalTrafficPolicy = string(*i.Spec.InternalTrafficPolicy)
		}
		if next.TrafficDistribution = p.TrafficDistribution; p.TrafficDistribution != "" {
			i.Spec.TrafficDistribution = new(p.TrafficDistribution)
		}
	}
	text, err := json.Marshal(next)
	if err != nil || string(text) == "{}" { // strings always can be written
		delete(i.Annotations, AnnotationCarried)
		return
	}
	i.Annotations[AnnotationCarried] = string(text)
}

func internalTraffic(p *catalog.Properties) corev1.ServiceInternalTrafficPolicy {
	if p.NodeLocal {
		return corev1.ServiceInternalTrafficPolicyLocal
	}
	return corev1.ServiceInternalTrafficPolicyCluster
}

// exchange takes the former keys out and puts the pairs in. What others have put
// there stays. It returns the keys of the pairs.
func exchange(have map[string]string, former []string, pairs map[string]string) (map[string]string, []string) {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	for _, key := range former {
		if !catalog.ReservedKey(key) { // those are never carried, whatever the annotation says
			delete(out, key)
		}
	}
	maps.Copy(out, pairs)
	return out, slices.Sorted(maps.Keys(pairs))
}

// sameSpec reports whether the specs say the same, or as much the same as the API
// server lets them: fields that it was asked for and does not have, it does not know.
func sameSpec(have, want *mcsv1beta1.ServiceImport) bool {
	spec := want.Spec
	asked := have.Annotations[AnnotationCarried] == want.Annotations[AnnotationCarried]
	if policy := spec.InternalTrafficPolicy; have.Spec.InternalTrafficPolicy == nil && policy != nil &&
		(asked || *policy == corev1.ServiceInternalTrafficPolicyCluster) {
		spec.InternalTrafficPolicy = nil
	}
	if asked && have.Spec.TrafficDistribution == nil {
		spec.TrafficDistribution = nil
	}
	return equality.Semantic.DeepEqual(have.Spec, spec)
}
