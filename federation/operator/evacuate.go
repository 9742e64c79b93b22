package operator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
	"github.com/federator/federator/peering/pb"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// The bounds of an evacuation.
const (
	minEvacuation = time.Second
	maxEvacuation = 24 * time.Hour
	maxReason     = 256 // bytes
)

// ListEvacuations lists those in force.
func (s *Server) ListEvacuations(context.Context, *pb.ListEvacuationsRequest) (*pb.ListEvacuationsResponse, error) {
	v := &view{now: s.Now(), cond: s.Catalog.Conditions(), services: s.Catalog.Services(), objects: s.objects()}
	return &pb.ListEvacuationsResponse{Evacuations: v.evacuations()}, nil
}

// Evacuate takes a region out of every resolution, or prolongs that from now on.
func (s *Server) Evacuate(ctx context.Context, r *pb.EvacuateRequest) (*pb.EvacuationInfo, error) {
	duration := r.GetDuration().AsDuration()
	switch known := s.knownRegions(); {
	case !slices.Contains(known, r.GetRegion()):
		return nil, missing("region", r.GetRegion(), known)
	case duration < minEvacuation || duration > maxEvacuation:
		return nil, invalid("an evacuation lasts %s to %s, found %s; prolong it later if need be", minEvacuation, maxEvacuation, duration)
	case len(r.GetReason()) > maxReason:
		return nil, invalid("the reason may have %d bytes, found %d", maxReason, len(r.GetReason()))
	}
	e := catalog.Evacuation{Region: r.GetRegion(), Started: s.Now().UTC(), Duration: catalog.Duration(duration), Reason: r.GetReason(), Forced: r.GetForce()}
	o, err := s.write(ctx, catalog.ObjectKey{Kind: catalog.KindEvacuation, Name: e.Region}, e)
	if err != nil {
		return nil, err
	}
	v := &view{now: s.Now(), cond: withEvacuation(s.Catalog.Conditions(), e), services: s.Catalog.Services()}
	return v.evacuation(e, o), nil
}

// StopEvacuation ends one.
func (s *Server) StopEvacuation(ctx context.Context, r *pb.StopEvacuationRequest) (*pb.StopEvacuationResponse, error) {
	if _, err := s.object(catalog.KindEvacuation, r.GetRegion()); err != nil {
		return nil, err
	}
	if _, err := s.write(ctx, catalog.ObjectKey{Kind: catalog.KindEvacuation, Name: r.GetRegion()}, nil); err != nil {
		return nil, err
	}
	return &pb.StopEvacuationResponse{}, nil
}

// withEvacuation returns the conditions as they are about to be.
func withEvacuation(c *catalog.Conditions, e catalog.Evacuation) *catalog.Conditions {
	next := *c
	next.Evacuations = maps.Clone(c.Evacuations)
	if next.Evacuations == nil {
		next.Evacuations = map[string]catalog.Evacuation{}
	}
	next.Evacuations[e.Region] = e
	return &next
}

// evacuations lists those in force, by region.
func (v *view) evacuations() []*pb.EvacuationInfo {
	var out []*pb.EvacuationInfo
	for _, o := range living(v.objects, catalog.KindEvacuation) {
		// The catalog decides whether it still counts: a clock that is ahead prolongs
		// nothing.
		if e, ok := v.cond.Evacuations[o.Name]; ok {
			out = append(out, v.evacuation(e, o))
		}
	}
	return out
}

func (v *view) evacuation(e catalog.Evacuation, o *catalog.Object) *pb.EvacuationInfo {
	return &pb.EvacuationInfo{
		Region: e.Region, Started: timestamppb.New(e.Started), Duration: lasting(time.Duration(e.Duration)), Until: timestamppb.New(e.Until()),
		Remaining: lasting(min(e.Until().Sub(v.now), time.Duration(e.Duration))),
		Reason:    e.Reason, Meta: metaOf(o), Ignored: v.ignored(e.Region), Forced: e.Forced,
	}
}

// ignored says for which services the safety rules set the evacuation of a region
// aside, and why; "" for none.
func (v *view) ignored(region string) string {
	if _, ok := v.cond.Evacuations[region]; !ok {
		return ""
	}
	var spared []string
	for _, s := range v.services {
		if !slices.ContainsFunc(s.Backends, func(b catalog.Backend) bool { return b.Region == region }) {
			continue
		}
		for _, o := range locality.Safety(locality.Input{Service: s, Conditions: v.cond}).Ignored {
			if o.Cause == locality.Evacuated && o.Region == region {
				spared = append(spared, fmt.Sprintf("%s (it %s)", s.Name, o.Reason()))
			}
		}
	}
	if len(spared) == 0 {
		return ""
	}
	return fmt.Sprintf("for %d service(s): %s", len(spared), strings.Join(most(spared, 5), "; "))
}
