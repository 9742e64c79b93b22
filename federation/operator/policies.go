package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
	"github.com/federator/federator/peering/pb"
)

// maxPolicy bounds the JSON of one policy, in bytes.
const maxPolicy = catalog.MaxSpec

// maxShown bounds the JSON of a cluster's policy that is shown in a list, and
// maxListed all of those together, in bytes: users of clusters write them, and must not
// make the answer longer than a message may be.
const (
	maxShown  = 4 << 10
	maxListed = 4 << 20
)

// ListPolicies lists the policies by name.
func (s *Server) ListPolicies(ctx context.Context, r *pb.ListPoliciesRequest) (*pb.ListPoliciesResponse, error) {
	objects, err := s.objectsAs(ctx, r.GetConsistent())
	if err != nil {
		return nil, err
	}
	out := &pb.ListPoliciesResponse{}
	for _, o := range living(objects, catalog.KindPolicy) {
		out.Policies = append(out.Policies, policyInfo(o))
	}
	standings, size := s.Catalog.ClusterPolicies(), 0
	for i := range standings {
		info, err := clusterPolicyInfo(&standings[i])
		if err != nil {
			return nil, refused(err)
		}
		if size += proto.Size(info); size > maxListed {
			out.ClusterPoliciesLeftOut = uint32(len(standings) - i)
			break
		}
		out.ClusterPolicies = append(out.ClusterPolicies, info)
	}
	return out, nil
}

func clusterPolicyInfo(p *catalog.PolicyStanding) (*pb.ClusterPolicyInfo, error) {
	spec, err := json.Marshal(p.Policy)
	info := &pb.ClusterPolicyInfo{
		Cluster: p.Cluster, Namespace: p.Namespace, Name: p.Name, Service: p.About().String(), Spec: spec,
		Created: timestamppb.New(p.CreatedAt), Region: p.Region, Standing: string(p.Standing), Rules: p.Rules,
	}
	if len(spec) > maxShown {
		info.Spec = nil
	}
	if p.Winner != (catalog.PolicyOrigin{}) {
		info.Winner = p.Winner.String()
	}
	return info, err
}

// GetPolicy returns one policy.
func (s *Server) GetPolicy(ctx context.Context, r *pb.GetPolicyRequest) (*pb.PolicyInfo, error) {
	objects, err := s.objectsAs(ctx, r.GetConsistent())
	if err != nil {
		return nil, err
	}
	o, err := find(objects, catalog.KindPolicy, r.GetName())
	if err != nil {
		return nil, err
	}
	return policyInfo(o), nil
}

func policyInfo(o *catalog.Object) *pb.PolicyInfo {
	return &pb.PolicyInfo{Name: o.Name, Spec: o.Spec, Meta: metaOf(o)}
}

// ApplyPolicy writes a policy, unless it says what it said before.
func (s *Server) ApplyPolicy(ctx context.Context, r *pb.ApplyPolicyRequest) (*pb.ApplyPolicyResponse, error) {
	policy, err := parsePolicy(r.GetName(), r.GetSpec())
	if err != nil {
		return nil, err
	}
	spec, err := json.Marshal(policy)
	if err != nil {
		return nil, refused(err)
	}
	out := &pb.ApplyPolicyResponse{Action: "created", Warnings: s.policyWarnings(r.GetName(), policy)}
	out.Policy = &pb.PolicyInfo{Name: r.GetName(), Spec: spec}
	key := catalog.ObjectKey{Kind: catalog.KindPolicy, Name: r.GetName()}
	compare := func() {
		out.Action, out.Policy.Meta = "created", nil
		if old, err := s.object(catalog.KindPolicy, r.GetName()); err == nil {
			out.Action, out.Policy.Meta = "changed", metaOf(old)
			if samePolicy(old.Spec, spec) {
				out.Action = "unchanged"
			}
		}
	}
	compare()
	if out.Action == "unchanged" && !r.GetDryRun() {
		// It is an acknowledgement like any other, so what this replica knows is not
		// enough: it may lag.
		if err := s.settled(ctx, key); err != nil {
			return nil, err
		}
		compare()
	}
	if r.GetDryRun() || out.Action == "unchanged" {
		return out, nil
	}
	written, err := s.write(ctx, key, policy)
	if err != nil {
		return nil, err
	}
	out.Policy = policyInfo(written)
	return out, nil
}

// DeletePolicy deletes a policy; the services that it was for follow the default
// one, or the built-in rules.
func (s *Server) DeletePolicy(ctx context.Context, r *pb.DeletePolicyRequest) (*pb.DeletePolicyResponse, error) {
	key := catalog.ObjectKey{Kind: catalog.KindPolicy, Name: r.GetName()}
	if _, err := s.object(catalog.KindPolicy, r.GetName()); err != nil {
		if err := s.settled(ctx, key); err != nil { // "there is none" must not be hearsay
			return nil, err
		}
		if _, err := s.object(catalog.KindPolicy, r.GetName()); err != nil {
			return nil, err
		}
	}
	if _, err := s.write(ctx, key, nil); err != nil {
		return nil, err
	}
	return &pb.DeletePolicyResponse{}, nil
}

// parsePolicy reads the strict JSON of a policy and says everything that is wrong.
func parsePolicy(name string, spec []byte) (catalog.Policy, error) {
	var p catalog.Policy
	if len(spec) == 0 || len(spec) > maxPolicy {
		return p, invalid("policy %s: expected 1 to %d bytes of JSON, found %d", name, maxPolicy, len(spec))
	}
	d := json.NewDecoder(bytes.NewReader(spec))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, invalid("policy %s: %v", name, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return p, invalid("policy %s: expected one JSON value, found more behind it", name)
	}
	if errs := locality.ValidatePolicy(name, p); len(errs) > 0 {
		return p, invalid("policy %s: %v", name, errors.Join(errs...))
	}
	return p, nil
}

// samePolicy compares what two policies say, however they are written.
func samePolicy(a, b []byte) bool {
	var old catalog.Policy
	if json.Unmarshal(a, &old) != nil {
		return false
	}
	canonical, err := json.Marshal(old)
	return err == nil && bytes.Equal(canonical, b)
}

// policyWarnings says what a policy names that is not known.
func (s *Server) policyWarnings(name string, p catalog.Policy) []string {
	var out []string
	if strays := strayRegions(p, s.knownRegions()); len(strays) > 0 {
		out = append(out, fmt.Sprintf("not a region of the federation: %s; it counts once it is", strings.Join(strays, ", ")))
	}
	if p.Safety != nil {
		out = append(out, s.safetyWarnings(*p.Safety)...)
	}
	if name == catalog.DefaultPolicy {
		return out
	}
	if service, err := catalog.ParseServiceName(name); err == nil && s.Catalog.Service(service) == nil {
		out = append(out, fmt.Sprintf("service %s is not exported by any cluster; %s", name, suggestion("service", name, s.serviceNames())))
	}
	return out
}

// safetyWarnings says which rules nothing can meet as things are.
func (s *Server) safetyWarnings(rule catalog.Safety) []string {
	var out []string
	if n := len(s.knownRegions()); int(rule.MinRegions) >= n {
		out = append(out, fmt.Sprintf("safety.minRegions is %d and the federation has %d region(s): no region can be evacuated or drilled, unless forced", rule.MinRegions, n))
	}
	for _, gate := range rule.Gates {
		if _, err := s.object(catalog.KindGate, gate); err != nil {
			out = append(out, fmt.Sprintf("gate %s does not exist: no drill can touch what the policy is for until it does and is open", gate))
		}
	}
	return out
}

// strayRegions returns the regions that a policy names and nobody knows.
func strayRegions(p catalog.Policy, known []string) []string {
	named := map[string]bool{}
	note := func(places ...string) {
		for _, at := range places {
			region, _, _ := strings.Cut(at, "/")
			named[region] = true
		}
	}
	note(p.RegionOrder...)
	note(p.FailoverRegions...)
	note(slices.Collect(maps.Keys(p.Weights))...)
	for from, order := range p.RegionOrderFrom {
		note(from)
		note(order...)
	}
	for _, region := range known {
		delete(named, region)
	}
	return slices.Sorted(maps.Keys(named))
}
