package main

import (
	"context"
	"crypto/sha256"
	"net"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/peering/pb"
)

// fakeAgent answers every call with one fixed answer.
type fakeAgent struct {
	pb.UnimplementedOperatorServer
	healthy bool // check finds nothing
	applied []*pb.ApplyPolicyRequest
	cut     bool     // backups are cut short
	started []string // specs of drills
	looks   int      // at the drill
	aborts  bool     // the drill is aborted
	missed  bool     // it misses its objective
	flaky   bool     // the agent is away once
}

// serve runs a fake agent on a socket and returns its path.
func serve(t *testing.T, agent *fakeAgent) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterOperatorServer(server, agent)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return socket
}

func at(hour int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 1, 2, hour, 0, 0, 0, time.UTC))
}

func lasting(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

func west() *pb.Replica {
	return &pb.Replica{
		Name: "us-west-0", Region: "us-west", Cluster: "west-1", Zone: "a",
		PeerAddress: "10.0.0.1:7443", GossipAddress: "10.0.0.1:7946", DnsAddress: "10.0.0.1:53", Build: "v1",
	}
}

func (f *fakeAgent) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	return &pb.StatusResponse{
		TrustDomain: "acme.example", Zone: "clusterset.local", Self: west(), Uptime: lasting(90 * time.Second), Ready: true,
		Raft:  &pb.RaftStatus{State: "leader", Leader: "us-west-0", Term: 2, CommitIndex: 10, AppliedIndex: 10},
		Build: &pb.VersionResponse{Version: "v1", Protocol: 1}, Services: 2, Endpoints: 6,
		Certificate: &pb.CertificateStatus{Id: "spiffe://acme.example/federator/us-west/us-west-0", NotAfter: at(12)},
		Regions: []*pb.RegionStatus{
			{Name: "us-west", Own: true, Authority: true, Epoch: 1, Seq: 7, Reach: "reachable", Freshness: "own", Replicas: 3, ReplicasAlive: 3, Leader: "us-west-0"},
			{Name: "eu-central", Epoch: 2, Seq: 9, Reach: "control-plane-lost", Freshness: "stale", DataAge: lasting(12 * time.Second), Lag: 3, Replicas: 3, Rtt: lasting(80 * time.Millisecond), Evacuated: true, StreamError: "connection refused"},
		},
		Clusters:    []*pb.ClusterStatus{{Name: "west-1", Region: "us-west", HealthOwner: "us-west-1", SourceError: "3 mistake(s) in the services file; it was not taken:\n  line 3: bad\n  line 5: worse\n  line 9: worst", StaleSince: at(1), Services: 2, Endpoints: 6, Unhealthy: 1, Refused: 1}},
		Evacuations: []*pb.EvacuationInfo{evacuated("eu-central")}, Drills: []*pb.DrillInfo{drillAt(1)},
		Imports: &pb.ImportsStatus{Holder: "us-west-1", UnansweredSince: at(2), Foreign: []string{"Service shop/derived-x"}, Contested: []string{"ServiceImport shop/checkout"}},
	}, nil
}

func evacuated(region string) *pb.EvacuationInfo {
	return &pb.EvacuationInfo{Region: region, Started: at(1), Until: at(2), Remaining: lasting(30 * time.Minute), Reason: "power", Meta: &pb.ObjectMeta{Actor: "uid:0@us-west-0"}}
}

func (f *fakeAgent) Check(context.Context, *pb.CheckRequest) (*pb.CheckResponse, error) {
	r := &pb.CheckResponse{Checked: []string{"clocks", "disks"}}
	if !f.healthy {
		r.Problems = []*pb.Problem{{Severity: "error", Code: "clock-skew", Subject: "region eu-central", Expected: "at most 5m", Found: "1h3m ahead", Action: "set its clock", Since: at(3)}}
	}
	return r, nil
}

func (f *fakeAgent) Members(_ context.Context, r *pb.MembersRequest) (*pb.MembersResponse, error) {
	return &pb.MembersResponse{Members: []*pb.Member{{Replica: west(), Role: "leader", State: "alive", Self: true}, {Replica: &pb.Replica{Region: r.GetRegion(), Name: "other"}, State: "dead", Rtt: lasting(80 * time.Millisecond)}}}, nil
}

func (f *fakeAgent) Services(context.Context, *pb.ServicesRequest) (*pb.ServicesResponse, error) {
	return &pb.ServicesResponse{Services: []*pb.ServiceSummary{{
		Name: "shop/checkout", Ports: []*pb.ServicePort{{Name: "http", Protocol: "TCP", Number: 80}, {Protocol: "UDP", Number: 53}},
		Backends: []*pb.BackendSummary{{Region: "us-west", Cluster: "west-1", Endpoints: 3, Healthy: 2}, {Region: "eu-central", Cluster: "central-1", Endpoints: 3, Healthy: 3, Stale: true}},
		Healthy:  5, Endpoints: 6, Conflicts: []string{"port http differs"},
	}, {Name: "shop/ledger", Headless: true, Policy: "default"}}}, nil
}

func (f *fakeAgent) Endpoints(_ context.Context, r *pb.EndpointsRequest) (*pb.EndpointsResponse, error) {
	if r.GetService() != "shop/checkout" {
		return nil, status.Errorf(codes.NotFound, "no service %s; see federator services", r.GetService())
	}
	return &pb.EndpointsResponse{Endpoints: []*pb.EndpointInfo{{Id: "one", Address: "10.1.0.1", Region: "us-west", Zone: "a", Cluster: "west-1", Weight: 1, Health: "unhealthy", HealthFrom: "gossip", Stale: true, Since: at(4)}}}, nil
}

func (f *fakeAgent) Resolve(_ context.Context, r *pb.ResolveRequest) (*pb.ResolveResponse, error) {
	return &pb.ResolveResponse{
		Service: r.GetService(), From: r.GetFrom(), Drill: "d1 takes 25 % of the traffic of us-west", Panic: true, Stale: true, DnsAnswers: []string{"10.1.0.1"},
		Priorities: []*pb.ResolvedPriority{{LoadPercent: 100, Reason: "same region", Localities: []*pb.ResolvedLocality{{
			Region: "us-west", Zone: "a", ShareBp: 6667, Reason: "weight 2 of 3",
			Endpoints: []*pb.ResolvedEndpoint{{Address: "10.1.0.1", Health: "healthy", Serves: true}, {Address: "10.1.0.2", Health: "unhealthy", Reason: "unhealthy"}},
		}}}},
		Omissions: []*pb.Omission{{Subject: "region eu-central", Reason: "evacuated"}}, Explanation: []string{"eu-central is evacuated."},
	}, nil
}

func (f *fakeAgent) ListAudit(context.Context, *pb.ListAuditRequest) (*pb.ListAuditResponse, error) {
	return &pb.ListAuditResponse{Entries: []*pb.AuditEntry{{Time: at(5), Actor: "uid:0@us-west-0", Origin: "socket", Replica: "us-west-0", Action: "evacuate", Subject: "eu-central", Detail: "for 1h"}}}, nil
}

func (f *fakeAgent) ApplyPolicy(_ context.Context, r *pb.ApplyPolicyRequest) (*pb.ApplyPolicyResponse, error) {
	if r.GetName() == "shop/invalid" {
		return nil, status.Error(codes.InvalidArgument, "the agent knows better")
	}
	if r.GetName() == "shop/refused" {
		return nil, status.Error(codes.PermissionDenied, "expected the role operator, found viewer")
	}
	f.applied = append(f.applied, r)
	return &pb.ApplyPolicyResponse{Action: "created", Warnings: []string{"region mars is not known"}}, nil
}

func (f *fakeAgent) GetPolicy(_ context.Context, r *pb.GetPolicyRequest) (*pb.PolicyInfo, error) {
	return &pb.PolicyInfo{Name: r.GetName(), Spec: []byte(`{"regionOrder":["us-west"],"ramp":"10s"}`)}, nil
}

func (f *fakeAgent) ListEvacuations(context.Context, *pb.ListEvacuationsRequest) (*pb.ListEvacuationsResponse, error) {
	return &pb.ListEvacuationsResponse{Evacuations: []*pb.EvacuationInfo{evacuated("eu-central")}}, nil
}

func (f *fakeAgent) Evacuate(_ context.Context, r *pb.EvacuateRequest) (*pb.EvacuationInfo, error) {
	if r.GetDuration().AsDuration() > 24*time.Hour {
		return nil, status.Error(codes.InvalidArgument, "an evacuation lasts 1s to 24h, found 25h")
	}
	e := evacuated(r.GetRegion())
	e.Forced, e.Ignored = r.GetForce(), "for 1 service(s): shop/ledger (it would leave nothing that may serve)"
	return e, nil
}

func (f *fakeAgent) StopEvacuation(context.Context, *pb.StopEvacuationRequest) (*pb.StopEvacuationResponse, error) {
	return &pb.StopEvacuationResponse{}, nil
}

func (f *fakeAgent) CreateToken(_ context.Context, r *pb.CreateTokenRequest) (*pb.CreateTokenResponse, error) {
	return &pb.CreateTokenResponse{Token: "the-token", Info: &pb.TokenInfo{Id: "1", Expires: at(6)}}, nil
}

func (f *fakeAgent) ListTokens(context.Context, *pb.ListTokensRequest) (*pb.ListTokensResponse, error) {
	return &pb.ListTokensResponse{Tokens: []*pb.TokenInfo{{Id: "1", State: "used", Expires: at(6), Created: at(5), CreatedBy: "uid:0", Region: "us-west", Cluster: "west-1", UsedBy: "us-west/us-west-1"}, {Id: "2", State: "unused"}}}, nil
}

func (f *fakeAgent) Leave(_ context.Context, r *pb.LeaveRequest) (*pb.LeaveResponse, error) {
	return &pb.LeaveResponse{Voters: []string{"us-west-0"}, Warnings: []string{"one voter is left"}}, nil
}

func (f *fakeAgent) KeyringStatus(context.Context, *pb.KeyringStatusRequest) (*pb.KeyringStatusResponse, error) {
	return &pb.KeyringStatusResponse{Version: 2, Keys: []*pb.KeyInfo{{Fingerprint: "0a1b2c3d", Primary: true, Created: at(7)}}, WaitingFor: []string{"asia-east"}}, nil
}

func (f *fakeAgent) Backup(_ *pb.BackupRequest, out grpc.ServerStreamingServer[pb.BackupResponse]) error {
	digest := sha256.Sum256([]byte("archive"))
	parts := []*pb.BackupResponse{{Region: &pb.Region{Name: "us-west"}, Data: []byte("arch")}, {Data: []byte("ive")}, {Sha256: digest[:]}}
	if f.cut {
		parts = parts[:2]
	}
	for _, p := range parts {
		if err := out.Send(p); err != nil {
			return err
		}
	}
	return nil
}

func (a *fakeAgent) GetTrust(context.Context, *pb.GetTrustRequest) (*pb.GetTrustResponse, error) {
	return &pb.GetTrustResponse{TrustDomain: "acme.example", Region: "us-west", Cluster: "west-1", Pins: []string{"aa", "bb"}, Roots: [][]byte{{1}}}, nil
}
