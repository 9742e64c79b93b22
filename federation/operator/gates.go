package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/rpc"
)

// The bounds of how long a gate is opened.
const (
	minOpen = time.Second
	maxOpen = 24 * time.Hour
)

// CreateGate makes a gate, or says anew who may open it; either closes it.
func (s *Server) CreateGate(ctx context.Context, r *pb.CreateGateRequest) (*pb.GateInfo, error) {
	gate := catalog.Gate{Operators: slices.Compact(slices.Sorted(slices.Values(r.GetOperators())))}
	if err := catalog.ValidateGate(r.GetName(), gate); err != nil {
		return nil, invalid("%v", err)
	}
	return s.writeGate(ctx, r.GetName(), gate)
}

// OpenGate opens a gate for a while, if it names the caller.
func (s *Server) OpenGate(ctx context.Context, r *pb.OpenGateRequest) (*pb.GateInfo, error) {
	gate, err := s.gate(r.GetName())
	if err != nil {
		return nil, err
	}
	if d := r.GetDuration().AsDuration(); d < minOpen || d > maxOpen {
		return nil, invalid("a gate is opened for %s to %s, found %s", minOpen, maxOpen, d)
	}
	if err := s.mayOpen(ctx, r.GetName(), gate); err != nil {
		return nil, err
	}
	gate.OpenUntil, gate.OpenedBy = s.Now().UTC().Add(r.GetDuration().AsDuration()), s.actor(ctx)
	return s.writeGate(ctx, r.GetName(), gate)
}

// mayOpen lets only those pass whose certificate bears one of the gate's names.
func (s *Server) mayOpen(ctx context.Context, name string, gate catalog.Gate) error {
	actor := rpc.Actor(ctx)
	for _, operator := range gate.Operators {
		if actor == identity.OperatorID(s.TrustDomain, operator).String() {
			return nil
		}
	}
	how := "ask one of them"
	if p, _ := rpc.PeerOf(ctx); p.Local != nil {
		how = "the local socket tells a user id, not a person: call with --address and --identity of one of them, whose certificate \"federator operator create\" made"
	}
	return rpc.Error(codes.PermissionDenied, "NOT_NAMED", fmt.Sprintf("gate %s may be opened by the operators %s only, found %s; %s", name, strings.Join(gate.Operators, ", "), actor, how))
}

// CloseGate closes a gate at once; drills that need it end.
func (s *Server) CloseGate(ctx context.Context, r *pb.CloseGateRequest) (*pb.GateInfo, error) {
	gate, err := s.gate(r.GetName())
	if err != nil {
		return nil, err
	}
	gate.OpenUntil, gate.OpenedBy = time.Time{}, ""
	return s.writeGate(ctx, r.GetName(), gate)
}

// DeleteGate deletes a gate; drills of services whose policy names it cannot run.
func (s *Server) DeleteGate(ctx context.Context, r *pb.DeleteGateRequest) (*pb.DeleteGateResponse, error) {
	if _, err := s.gate(r.GetName()); err != nil {
		return nil, err
	}
	if _, err := s.write(ctx, catalog.ObjectKey{Kind: catalog.KindGate, Name: r.GetName()}, nil); err != nil {
		return nil, err
	}
	return &pb.DeleteGateResponse{}, nil
}

// ListGates lists gates, and those that policies name and nobody made.
func (s *Server) ListGates(context.Context, *pb.ListGatesRequest) (*pb.ListGatesResponse, error) {
	wanted := gatesWanted(s.Catalog.Conditions())
	out := &pb.ListGatesResponse{}
	for _, o := range living(s.objects(), catalog.KindGate) {
		var gate catalog.Gate
		if json.Unmarshal(o.Spec, &gate) == nil {
			info := s.gateInfo(o, gate)
			info.Policies = wanted[o.Name]
			out.Gates = append(out.Gates, info)
		}
		delete(wanted, o.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		out.Gates = append(out.Gates, &pb.GateInfo{Name: name, Missing: true, Policies: wanted[name]})
	}
	slices.SortFunc(out.Gates, func(a, b *pb.GateInfo) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out, nil
}

// gatesWanted returns the policies that name each gate.
func gatesWanted(c *catalog.Conditions) map[string][]string {
	out := map[string][]string{}
	for _, policy := range slices.Sorted(maps.Keys(c.Policies)) {
		if safety := c.Policies[policy].Safety; safety != nil {
			for _, gate := range safety.Gates {
				out[gate] = append(out[gate], policy)
			}
		}
	}
	return out
}

func (s *Server) gate(name string) (catalog.Gate, error) {
	var gate catalog.Gate
	o, err := s.object(catalog.KindGate, name)
	if err != nil {
		return gate, err
	}
	if err := json.Unmarshal(o.Spec, &gate); err != nil {
		return gate, unmet("UNREADABLE", "gate %s cannot be read by this build: %v; upgrade the replica, or create the gate anew", name, err)
	}
	return gate, nil
}

func (s *Server) writeGate(ctx context.Context, name string, gate catalog.Gate) (*pb.GateInfo, error) {
	o, err := s.write(ctx, catalog.ObjectKey{Kind: catalog.KindGate, Name: name}, gate)
	if err != nil {
		return nil, err
	}
	info := s.gateInfo(o, gate)
	info.Policies = gatesWanted(s.Catalog.Conditions())[name]
	return info, nil
}

func (s *Server) gateInfo(o *catalog.Object, gate catalog.Gate) *pb.GateInfo {
	out := &pb.GateInfo{Name: o.Name, Operators: gate.Operators, Meta: metaOf(o), Open: gate.OpenUntil.After(s.Now())}
	if out.Open {
		out.OpenUntil, out.OpenedBy = moment(gate.OpenUntil), gate.OpenedBy
	}
	return out
}
