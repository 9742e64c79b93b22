package intents

import (
	"errors"
	"fmt"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube/api/v1alpha1"
	"github.com/federator/federator/locality"
)

// translate makes the federation's policy of a cluster's, or says what is wrong with
// it. The API server has checked all that one can see of the object alone.
func translate(p *v1alpha1.ResolutionPolicy) (catalog.ClusterPolicy, error) {
	s := &p.Spec
	ramp, err := duration("ramp", s.Ramp)
	out := catalog.ClusterPolicy{
		Service: string(s.Service), CreatedAt: p.CreationTimestamp.UTC(),
		Policy: catalog.Policy{
			RegionOrder: names(s.RegionOrder), FailoverRegions: names(s.FailoverRegions),
			OverprovisioningPercent: uint32(max(0, s.OverprovisioningPercent)), Ramp: ramp,
		},
	}
	if t := s.PanicThresholdPercent; t != nil {
		out.Policy.PanicThresholdPercent = new(uint32(max(0, *t)))
	}
	for _, o := range s.RegionOrderFrom {
		if out.Policy.RegionOrderFrom == nil {
			out.Policy.RegionOrderFrom = map[string][]string{}
		}
		out.Policy.RegionOrderFrom[string(o.From)] = names(o.Order)
	}
	for _, w := range s.Weights {
		if out.Policy.Weights == nil {
			out.Policy.Weights = map[string]uint32{}
		}
		out.Policy.Weights[string(w.Place)] = uint32(max(0, w.Weight))
	}
	if safety := s.Safety; safety != nil {
		out.Policy.Safety = &catalog.Safety{
			MinRegions: uint32(max(0, safety.MinRegions)), MinEndpointsPercent: uint32(max(0, safety.MinEndpointsPercent)), Gates: names(safety.Gates),
		}
	}
	service := catalog.ServiceName{Namespace: p.Namespace, Name: out.Service}
	return out, errors.Join(append(locality.ValidatePolicy(service.String(), out.Policy), err)...)
}

func names(labels v1alpha1.Labels) []string {
	var out []string
	for _, l := range labels {
		out = append(out, string(l))
	}
	return out
}

// duration reads a duration that may be left out.
func duration(field string, d *v1alpha1.Duration) (*catalog.Duration, error) {
	if d == nil {
		return nil, nil
	}
	v, err := time.ParseDuration(string(*d))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return new(catalog.Duration(v)), nil
}
