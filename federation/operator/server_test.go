package operator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/token"
)

const document = `
services:
  - name: shop/checkout
    ports: [{port: 80, name: http}]
    endpoints:
      - {address: 10.1.0.1, zone: a}
      - {address: 10.1.0.2, zone: b}
`

func (w *world) apply(text string) *pb.ApplyServicesResponse {
	w.t.Helper()
	r, err := w.server.ApplyServices(w.as(), &pb.ApplyServicesRequest{Document: []byte(text)})
	w.must(err)
	return r
}

func TestStatusTellsOfEveryRegion(t *testing.T) {
	w := newWorld(t)
	w.apply(document)
	s, err := w.server.Status(w.as(), nil)
	w.must(err)
	if !s.GetReady() || s.GetServices() != 1 || s.GetEndpoints() != 4 || s.GetRaft().GetState() != "leader" || s.GetRaft().GetLeader() != "a" {
		t.Errorf("unexpected status: %v", s)
	}
	regions := map[string]*pb.RegionStatus{}
	for _, r := range s.GetRegions() {
		regions[r.GetName()] = r
	}
	eu, us := regions["eu-central"], regions["us-west"]
	if eu.GetFreshness() != "fresh" || eu.GetReplicasAlive() != 1 || eu.GetReplicas() != 1 || eu.GetStreamFrom() != "e0" || eu.GetEndpoints() != 2 {
		t.Errorf("unexpected status of eu-central: %v", eu)
	}
	if us.GetFreshness() != "own" || !us.GetAuthority() || us.GetLeader() != "a" || us.GetReplicasAlive() != 1 || us.GetServices() != 1 {
		t.Errorf("unexpected status of us-west: %v", us)
	}
	if s.GetCertificate().GetRootNotAfter() == nil || s.GetBuild().GetProtocol() != state.Protocol {
		t.Errorf("expected certificate times and a protocol, found %v and %v", s.GetCertificate(), s.GetBuild())
	}
}

func TestCheckOfAHealthyWorldFindsOnlyThatTheRegionHasOneReplica(t *testing.T) {
	w := newWorld(t)
	w.apply(document)
	w.do(&state.GrantLease{Cluster: "west-1", Owner: "a"})
	r, err := w.server.Check(w.as(), nil)
	w.must(err)
	if len(r.GetProblems()) != 1 || r.GetProblems()[0].GetCode() != "few-replicas" {
		t.Errorf("unexpected problems: %v", r.GetProblems())
	}
	if len(r.GetChecked()) != len(examinations()) {
		t.Errorf("expected %d names of what was looked at, found %v", len(examinations()), r.GetChecked())
	}
}

func TestMembersJoinRecordsRolesAndEchoes(t *testing.T) {
	w := newWorld(t)
	w.do(&state.AdmitReplica{Replica: replicaOf("us-west", "b", "west-1")})
	w.gossip.dead["b"] = true
	w.gossip.members = append(w.gossip.members, gossip.Member{Region: "us-west", Name: "b", State: gossip.MemberSilent})
	r, err := w.server.Members(w.as(), &pb.MembersRequest{})
	w.must(err)
	var lines []string
	for _, m := range r.GetMembers() {
		lines = append(lines, fmt.Sprintf("%s/%s %s %s self=%v", m.GetReplica().GetRegion(), m.GetReplica().GetName(), m.GetRole(), m.GetState(), m.GetSelf()))
	}
	want := []string{"eu-central/e0 unknown alive self=false", "us-west/a leader alive self=true", "us-west/b standby dead self=false"}
	if !slices.Equal(lines, want) {
		t.Errorf("expected %v, found %v", want, lines)
	}
	w.server.Catalog.SetReachability(catalog.Reachability{Regions: map[string]catalog.Reach{"eu-central": catalog.Silent}}, time.Now())
	if r, err = w.server.Members(w.as(), &pb.MembersRequest{Region: "eu-central"}); err != nil || len(r.GetMembers()) != 1 || r.GetMembers()[0].GetState() != "suspect" {
		t.Errorf("expected the silence of the region to show before that of its replica, found %v and %v", r, err)
	}
	_, err = w.server.Members(w.as(), &pb.MembersRequest{Region: "eu-centrl"})
	wants(t, err, codes.NotFound, "NOT_FOUND")
	if !strings.Contains(err.Error(), "did you mean eu-central?") {
		t.Errorf("expected a suggestion, found %v", err)
	}
}

func TestATokenIsMadeListedAndRevoked(t *testing.T) {
	w := newWorld(t)
	made, err := w.server.CreateToken(w.as(), &pb.CreateTokenRequest{Region: "eu-central", Cluster: "eu-1", Description: "rack 7"})
	w.must(err)
	parsed, err := token.Parse(made.GetToken())
	w.must(err)
	if parsed.Region != "us-west" || !slices.Equal(parsed.Addresses, []string{"a.us-west:7443"}) || len(parsed.Pins) != 1 {
		t.Errorf("unexpected token: %v %v", parsed, parsed.Addresses)
	}
	list, err := w.server.ListTokens(w.as(), nil)
	w.must(err)
	if len(list.GetTokens()) != 1 {
		t.Fatalf("expected one token, found %v", list)
	}
	got := list.GetTokens()[0]
	if got.GetRegion() != "eu-central" || got.GetCluster() != "eu-1" || got.GetDescription() != "rack 7" || got.GetState() != "unused" || got.GetCreatedBy() != "uid:0@a" {
		t.Errorf("unexpected token: %v", got)
	}
	if _, err = w.server.RevokeToken(w.as(), &pb.RevokeTokenRequest{Id: got.GetId()}); err != nil {
		t.Fatal(err)
	}
	_, err = w.server.RevokeToken(w.as(), &pb.RevokeTokenRequest{Id: got.GetId()})
	wants(t, err, codes.NotFound, "NOT_FOUND")
}

func TestATokenThatNobodyCouldUseIsRefused(t *testing.T) {
	w := newWorld(t)
	for name, r := range map[string]*pb.CreateTokenRequest{
		"too short":          {Ttl: durationpb.New(time.Second)},
		"too long":           {Ttl: durationpb.New(25 * time.Hour)},
		"no region":          {Region: "EU"},
		"two regions' words": {Region: "us-west", Cluster: "eu-1"},
		"a tale":             {Description: strings.Repeat("x", 200)},
		"two lines":          {Description: "a\nb"},
	} {
		_, err := w.server.CreateToken(w.as(), r)
		if err == nil {
			t.Errorf("%s: expected a refusal", name)
			continue
		}
		wants(t, err, codes.InvalidArgument, "INVALID")
	}
}

func TestAnEvacuationBeginsIsProlongedAndStopped(t *testing.T) {
	w := newWorld(t)
	w.apply(document)
	for _, length := range []time.Duration{time.Minute, time.Hour} {
		e, err := w.server.Evacuate(w.as(), &pb.EvacuateRequest{Region: "eu-central", Duration: durationpb.New(length), Reason: "power"})
		w.must(err)
		if left := e.GetRemaining().AsDuration(); left > length || left < length-time.Second || e.GetIgnored() != "" || e.GetMeta().GetActor() != "uid:0@a" {
			t.Errorf("unexpected evacuation: %v", e)
		}
	}
	list, err := w.server.ListEvacuations(w.as(), nil)
	w.must(err)
	if len(list.GetEvacuations()) != 1 || list.GetEvacuations()[0].GetReason() != "power" || list.GetEvacuations()[0].GetMeta().GetGeneration() != 2 {
		t.Errorf("unexpected evacuations: %v", list)
	}
	res, err := w.server.Resolve(w.as(), &pb.ResolveRequest{Service: "shop/checkout", From: "eu-central"})
	w.must(err)
	if slices.Contains(res.GetDnsAnswers(), "10.2.0.1") || len(res.GetDnsAnswers()) == 0 || len(res.GetOmissions()) == 0 {
		t.Errorf("expected answers without eu-central, found %v", res)
	}
	_, err = w.server.StopEvacuation(w.as(), &pb.StopEvacuationRequest{Region: "eu-central"})
	w.must(err)
	list, err = w.server.ListEvacuations(w.as(), nil)
	w.must(err)
	if len(list.GetEvacuations()) != 0 {
		t.Errorf("expected none, found %v", list)
	}
	_, err = w.server.StopEvacuation(w.as(), &pb.StopEvacuationRequest{Region: "eu-central"})
	wants(t, err, codes.NotFound, "NOT_FOUND")
}

func TestAnEvacuationThatWouldLeaveAServiceWithNothingSaysSo(t *testing.T) {
	w := newWorld(t) // only eu-central has shop/checkout
	e, err := w.server.Evacuate(w.as(), &pb.EvacuateRequest{Region: "eu-central", Duration: durationpb.New(time.Minute)})
	w.must(err)
	if !strings.Contains(e.GetIgnored(), "shop/checkout") {
		t.Errorf("expected to read that shop/checkout is spared, found %q", e.GetIgnored())
	}
	r, err := w.server.Check(w.as(), nil)
	w.must(err)
	if !slices.ContainsFunc(r.GetProblems(), func(p *pb.Problem) bool { return p.GetCode() == "evacuation-ignored" }) {
		t.Errorf("expected check to report it, found %v", r.GetProblems())
	}
}

func TestAnEvacuationIsBoundedAndOfAKnownRegion(t *testing.T) {
	w := newWorld(t)
	for _, d := range []time.Duration{0, time.Millisecond, 25 * time.Hour} {
		_, err := w.server.Evacuate(w.as(), &pb.EvacuateRequest{Region: "eu-central", Duration: durationpb.New(d)})
		wants(t, err, codes.InvalidArgument, "INVALID")
	}
	_, err := w.server.Evacuate(w.as(), &pb.EvacuateRequest{Region: "mars", Duration: durationpb.New(time.Minute)})
	wants(t, err, codes.NotFound, "NOT_FOUND")
	if !strings.Contains(err.Error(), "eu-central, us-west") {
		t.Errorf("expected the known regions, found %v", err)
	}
}

func TestServicesAreAppliedPrunedAndDeleted(t *testing.T) {
	w := newWorld(t)
	actions := func(r *pb.ApplyServicesResponse) string {
		var out []string
		for _, c := range r.GetChanges() {
			out = append(out, c.GetService()+" "+c.GetAction())
		}
		return strings.Join(out, ", ")
	}
	dry, err := w.server.ApplyServices(w.as(), &pb.ApplyServicesRequest{Document: []byte(document), DryRun: true})
	w.must(err)
	if actions(dry) != "shop/checkout created" || len(w.server.sets("west-1")) != 0 {
		t.Errorf("a dry run said %q and left %d sets", actions(dry), len(w.server.sets("west-1")))
	}
	for _, step := range []struct {
		text  string
		prune bool
		want  string
	}{
		{document, false, "shop/checkout created"},
		{document, false, "shop/checkout unchanged"},
		{strings.ReplaceAll(document, "10.1.0.2", "10.1.0.3"), false, "shop/checkout changed"},
		{strings.ReplaceAll(document, "checkout", "catalog"), false, "shop/catalog created"},
		{strings.ReplaceAll(document, "checkout", "catalog"), true, "shop/catalog unchanged, shop/checkout deleted"},
	} {
		r, err := w.server.ApplyServices(w.as(), &pb.ApplyServicesRequest{Cluster: "west-1", Document: []byte(step.text), Prune: step.prune})
		w.must(err)
		if actions(r) != step.want {
			t.Errorf("expected %q, found %q", step.want, actions(r))
		}
	}
	if _, err := w.server.DeleteService(w.as(), &pb.DeleteServiceRequest{Service: "shop/catalog"}); err != nil || len(w.server.sets("west-1")) != 0 {
		t.Errorf("expected nothing left, found %v and %v", w.server.sets("west-1"), err)
	}
	_, err = w.server.DeleteService(w.as(), &pb.DeleteServiceRequest{Service: "shop/catalog"})
	wants(t, err, codes.NotFound, "NOT_FOUND")
}

func TestServicesOfAnotherSourceOrClusterOrWithMistakesAreRefused(t *testing.T) {
	w := newWorld(t)
	w.do(&state.PutSets{Cluster: "west-1", Source: "file", Upserts: []catalog.EndpointSet{set("west-1", "file", "checkout", "10.1.0.9")}})
	_, err := w.server.ApplyServices(w.as(), &pb.ApplyServicesRequest{Document: []byte(document)})
	wants(t, err, codes.FailedPrecondition, "SOURCE_TAKEN")
	_, err = w.server.DeleteService(w.as(), &pb.DeleteServiceRequest{Service: "shop/checkout"})
	wants(t, err, codes.FailedPrecondition, "SOURCE_TAKEN")
	_, err = w.server.ApplyServices(w.as(), &pb.ApplyServicesRequest{Cluster: "eu-1", Document: []byte(document)})
	wants(t, err, codes.FailedPrecondition, "OTHER_REGION")
	_, err = w.server.ApplyServices(w.as(), &pb.ApplyServicesRequest{Cluster: "west-2", Document: []byte(document)})
	wants(t, err, codes.NotFound, "NOT_FOUND")
	_, err = w.server.ApplyServices(w.as(), &pb.ApplyServicesRequest{Document: []byte("services: [{}]")})
	wants(t, err, codes.InvalidArgument, "INVALID")
	_, err = w.server.ApplyServices(w.as(), &pb.ApplyServicesRequest{Document: bytes.Repeat([]byte(" "), maxDocument+1)})
	wants(t, err, codes.InvalidArgument, "INVALID")
}

func TestAPolicyIsAppliedOnceAndWarnsOfWhatIsNotKnown(t *testing.T) {
	w := newWorld(t)
	apply := func(spec string, dry bool) *pb.ApplyPolicyResponse {
		t.Helper()
		r, err := w.server.ApplyPolicy(w.as(), &pb.ApplyPolicyRequest{Name: "shop/checkout", Spec: []byte(spec), DryRun: dry})
		w.must(err)
		return r
	}
	for _, step := range []struct {
		spec     string
		dry      bool
		want     string
		warnings int
	}{
		{`{"regionOrder":["us-west"]}`, true, "created", 0},
		{`{"regionOrder":["us-west"]}`, false, "created", 0},
		{` {"regionOrder": ["us-west"]}`, false, "unchanged", 0},
		{`{"weights":{"mars/a":1,"us-west":2}}`, false, "changed", 1},
	} {
		if r := apply(step.spec, step.dry); r.GetAction() != step.want || len(r.GetWarnings()) != step.warnings {
			t.Errorf("%s: expected %s and %d warnings, found %v", step.spec, step.want, step.warnings, r)
		}
	}
	list, err := w.server.ListPolicies(w.as(), nil)
	w.must(err)
	if len(list.GetPolicies()) != 1 || list.GetPolicies()[0].GetMeta().GetGeneration() != 2 {
		t.Errorf("unexpected policies: %v", list)
	}
	_, err = w.server.DeletePolicy(w.as(), &pb.DeletePolicyRequest{Name: "shop/checkout"})
	w.must(err)
	_, err = w.server.GetPolicy(w.as(), &pb.GetPolicyRequest{Name: "shop/checkout"})
	wants(t, err, codes.NotFound, "NOT_FOUND")
}

func TestAWriteFollowsAVersionThatTheRegionHasYetToAdopt(t *testing.T) {
	w := newWorld(t)
	key := catalog.ObjectKey{Kind: catalog.KindPolicy, Name: catalog.DefaultPolicy}
	theirs := catalog.Object{ObjectKey: key, Spec: json.RawMessage(`{}`), Actor: "other", Version: catalog.ObjectVersion{Generation: 7, HLC: 1, Region: "eu-central"}}
	w.must(w.server.Catalog.Apply(catalog.Delta{Region: "eu-central", Version: catalog.Version{Epoch: 1, Seq: 2}, Upserts: []catalog.Record{{Object: &theirs}}}, time.Now()))
	r, err := w.server.ApplyPolicy(w.as(), &pb.ApplyPolicyRequest{Name: "default", Spec: []byte(`{"regionOrder":["us-west"]}`)})
	w.must(err)
	if r.GetAction() != "changed" || r.GetPolicy().GetMeta().GetGeneration() != 8 {
		t.Errorf("expected generation 8, found %v", r)
	}
}

func TestAnOperatorIsGrantedARoleAndACertificate(t *testing.T) {
	w := newWorld(t)
	key, err := identity.NewKey()
	w.must(err)
	csr, err := identity.NewRequest(key, identity.OperatorID(domain, "ada"), nil, nil)
	w.must(err)
	r, err := w.server.CreateOperator(w.as(), &pb.CreateOperatorRequest{Name: "ada", Role: "admin", Csr: csr})
	w.must(err)
	verifier := w.server.Trust.(*identity.Verifier)
	if id, err := verifier.VerifyChain(r.GetChain(), time.Now()); err != nil || id != identity.OperatorID(domain, "ada") {
		t.Errorf("expected a chain that proves ada, found %v and %v", id, err)
	}
	list, err := w.server.ListOperators(w.as(), nil)
	w.must(err)
	if len(list.GetOperators()) != 1 || list.GetOperators()[0].GetRole() != "admin" || len(r.GetTrustList()) == 0 || len(r.GetAddresses()) != 1 {
		t.Errorf("unexpected operators %v, or answer %v", list, r)
	}
	for _, bad := range []*pb.CreateOperatorRequest{
		{Name: "ada", Role: "emperor", Csr: csr}, {Name: "eve", Role: "viewer", Csr: csr}, {Name: "ada", Role: "viewer", Csr: []byte("x")},
		{Name: "ada", Role: "viewer", Csr: csr, Ttl: durationpb.New(time.Second)}, {Name: "a/b", Role: "viewer", Csr: csr},
	} {
		_, err := w.server.CreateOperator(w.as(), bad)
		wants(t, err, codes.InvalidArgument, "INVALID")
	}
	_, err = w.server.DeleteOperator(w.as(), &pb.DeleteOperatorRequest{Name: "ada"})
	w.must(err)
	w.server.Signer = func() (*identity.Intermediate, bool) { return nil, false }
	_, err = w.server.CreateOperator(w.as(), &pb.CreateOperatorRequest{Name: "ada", Role: "admin", Csr: csr})
	wants(t, err, codes.FailedPrecondition, "NOT_VOTER")
}

func TestResolveExplainsAndSuggests(t *testing.T) {
	w := newWorld(t)
	w.apply(document)
	for _, c := range []struct {
		request *pb.ResolveRequest
		from    string
		first   string
	}{
		{&pb.ResolveRequest{}, "us-west/a", "10.1.0.1"},
		{&pb.ResolveRequest{From: "us-west/b"}, "us-west/b", "10.1.0.2"},
		{&pb.ResolveRequest{From: "eu-central/a"}, "eu-central/a", "10.2.0.1"},
		{&pb.ResolveRequest{ClientAddress: "10.2.9.9"}, "eu-central/b", "10.2.0.1"},
		{&pb.ResolveRequest{ClientAddress: "192.0.2.1"}, "us-west/a", "10.1.0.1"},
	} {
		c.request.Service = "shop/checkout"
		r, err := w.server.Resolve(w.as(), c.request)
		w.must(err)
		if r.GetFrom() != c.from || len(r.GetDnsAnswers()) == 0 || r.GetDnsAnswers()[0] != c.first || len(r.GetExplanation()) == 0 {
			t.Errorf("%v: expected %s from %s, found %v", c.request, c.first, c.from, r)
		}
	}
	for _, c := range []struct {
		request *pb.ResolveRequest
		code    codes.Code
		hint    string
	}{
		{&pb.ResolveRequest{Service: "shop/chekout"}, codes.NotFound, "did you mean shop/checkout?"},
		{&pb.ResolveRequest{Service: "checkout"}, codes.InvalidArgument, "NAMESPACE/NAME"},
		{&pb.ResolveRequest{Service: "shop/checkout", From: "us-wst"}, codes.NotFound, "did you mean us-west?"},
		{&pb.ResolveRequest{Service: "shop/checkout", ClientAddress: "here"}, codes.InvalidArgument, "IP address"},
		{&pb.ResolveRequest{Service: "shop/checkout", From: "us-west", ClientAddress: "10.0.0.1"}, codes.InvalidArgument, "both"},
	} {
		_, err := w.server.Resolve(w.as(), c.request)
		if err == nil || !strings.Contains(err.Error(), c.hint) {
			t.Errorf("%v: expected %q, found %v", c.request, c.hint, err)
		}
	}
}

func TestServicesAndEndpointsAreListed(t *testing.T) {
	w := newWorld(t)
	w.apply(document)
	list, err := w.server.Services(w.as(), &pb.ServicesRequest{Namespace: "shop", Region: "eu-central"})
	w.must(err)
	if len(list.GetServices()) != 1 || list.GetServices()[0].GetHealthy() != 4 || len(list.GetServices()[0].GetBackends()) != 2 {
		t.Errorf("unexpected services: %v", list)
	}
	if none, err := w.server.Services(w.as(), &pb.ServicesRequest{Namespace: "none"}); err != nil || len(none.GetServices()) != 0 {
		t.Errorf("expected none, found %v and %v", none, err)
	}
	change := catalog.HealthChange{Service: catalog.ServiceName{Namespace: "shop", Name: "checkout"}, Endpoint: "10.2.0.2", Health: catalog.Unhealthy, Version: catalog.HealthVersion{Epoch: 1, Term: 1, Seq: 1}}
	w.server.Catalog.ApplyHealth(catalog.HealthDelta{Cluster: "eu-1", Changes: []catalog.HealthChange{change}}, time.Now())
	r, err := w.server.Endpoints(w.as(), &pb.EndpointsRequest{Service: "shop/checkout"})
	w.must(err)
	var lines []string
	for _, e := range r.GetEndpoints() {
		lines = append(lines, fmt.Sprintf("%s %s %s %s %d", e.GetRegion(), e.GetAddress(), e.GetHealth(), e.GetHealthFrom(), e.GetPorts()["http"]))
	}
	want := []string{"eu-central 10.2.0.1 healthy source 80", "eu-central 10.2.0.2 unhealthy gossip 80", "us-west 10.1.0.1 healthy source 80", "us-west 10.1.0.2 healthy source 80"}
	if !slices.Equal(lines, want) {
		t.Errorf("expected %q, found %q", want, lines)
	}
}
