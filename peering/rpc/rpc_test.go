package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/internal/peertest"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/port"
	"github.com/federator/federator/peering/rpc"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// services answers a few methods with who the caller is.
type services struct {
	pb.UnimplementedOperatorServer
	pb.UnimplementedSiblingsServer
	pb.UnimplementedEnrollmentServer
}

type federation struct {
	pb.UnimplementedFederationServer
}

func (services) Version(ctx context.Context, _ *pb.VersionRequest) (*pb.VersionResponse, error) {
	_, bounded := ctx.Deadline()
	if !bounded {
		return nil, errors.New("expected a deadline")
	}
	return &pb.VersionResponse{Version: rpc.Actor(ctx), Platform: rpc.Origin(ctx)}, nil
}

func (services) Evacuate(context.Context, *pb.EvacuateRequest) (*pb.EvacuationInfo, error) {
	return &pb.EvacuationInfo{}, nil
}

func (services) CreateToken(context.Context, *pb.CreateTokenRequest) (*pb.CreateTokenResponse, error) {
	return &pb.CreateTokenResponse{}, nil
}

func (services) Check(context.Context, *pb.CheckRequest) (*pb.CheckResponse, error) {
	panic("a bug with a secret in it")
}

func (services) Backup(_ *pb.BackupRequest, s grpc.ServerStreamingServer[pb.BackupResponse]) error {
	panic("a bug in a stream")
}

func (services) Propose(context.Context, *pb.ProposeRequest) (*pb.ProposeResponse, error) {
	return &pb.ProposeResponse{}, nil
}

func (federation) GetDirectory(context.Context, *pb.GetDirectoryRequest) (*pb.GetDirectoryResponse, error) {
	return &pb.GetDirectoryResponse{}, nil
}

func (services) Hello(context.Context, *pb.HelloRequest) (*pb.HelloResponse, error) {
	return &pb.HelloResponse{}, nil
}

// world is a replica of us-west that serves everything.
type world struct {
	t       *testing.T
	domain  *peertest.Domain
	address string
	socket  string
	log     *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, domain: peertest.New(t), log: &logBuffer{}, socket: filepath.Join(t.TempDir(), "s")}
	p := w.domain.Replica("us-west", "a", time.Now()).Port(nil)
	w.address = p.Addr().String()
	local, err := port.ListenLocal(w.socket)
	if err != nil {
		t.Fatal(err)
	}
	grants := map[string]catalog.Role{"vera": catalog.RoleViewer, "otto": catalog.RoleOperator, "ada": catalog.RoleAdmin, "odd": "emperor"}
	access := &rpc.Access{
		TrustDomain: peertest.TrustDomain, Region: "us-west", Log: slog.New(slog.NewTextHandler(w.log, nil)),
		Role: func(name string) (catalog.Role, bool) { r, ok := grants[name]; return r, ok },
	}
	servers, err := rpc.NewServers(access, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*grpc.Server{servers.Main, servers.Enroll} {
		pb.RegisterOperatorServer(s, services{})
		pb.RegisterSiblingsServer(s, services{})
		pb.RegisterFederationServer(s, federation{})
		pb.RegisterEnrollmentServer(s, services{})
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.serve(ctx, servers.Main, p.Listener(port.GRPC), local) })
	running.Go(func() { w.serve(ctx, servers.Enroll, p.Listener(port.Enroll)) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return w
}

func (w *world) serve(ctx context.Context, s *grpc.Server, listeners ...net.Listener) {
	if err := rpc.Serve(ctx, s, time.Second, listeners...); err != nil {
		w.t.Error(err)
	}
}

func (w *world) client(connect rpc.Connect) *grpc.ClientConn {
	w.t.Helper()
	cc, err := rpc.Client(connect)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func (w *world) as(r *peertest.Party) *grpc.ClientConn {
	w.t.Helper()
	d := r.Dialer()
	return w.client(func(ctx context.Context) (net.Conn, error) {
		return d.Dial(ctx, port.GRPC, w.address, identity.AllowReplica(peertest.TrustDomain))
	})
}

func (w *world) stranger() *grpc.ClientConn {
	w.t.Helper()
	pins := identity.Pins{TrustDomain: peertest.TrustDomain, Roots: w.domain.Pins()}
	return w.client(func(ctx context.Context) (net.Conn, error) {
		return port.DialTLS(ctx, w.address, pins.ClientTLS(port.Enroll), 0)
	})
}

func (w *world) local() *grpc.ClientConn {
	w.t.Helper()
	cc, err := rpc.LocalClient(w.socket)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func TestWhoMayCallWhat(t *testing.T) {
	w := newWorld(t)
	callers := map[string]*grpc.ClientConn{
		"sibling":  w.as(w.domain.Replica("us-west", "b", time.Now())),
		"replica":  w.as(w.domain.Replica("eu-central", "c", time.Now())),
		"viewer":   w.as(w.domain.Operator("us-west", "vera")),
		"operator": w.as(w.domain.Operator("eu-central", "otto")),
		"admin":    w.as(w.domain.Operator("us-west", "ada")),
		"no role":  w.as(w.domain.Operator("us-west", "mallory")),
		"odd role": w.as(w.domain.Operator("us-west", "odd")),
		"stranger": w.stranger(),
		"local":    w.local(),
	}
	methods := map[string]func(context.Context, *grpc.ClientConn) error{
		"Hello": func(ctx context.Context, c *grpc.ClientConn) error {
			_, err := pb.NewEnrollmentClient(c).Hello(ctx, &pb.HelloRequest{})
			return err
		},
		"Propose": func(ctx context.Context, c *grpc.ClientConn) error {
			_, err := pb.NewSiblingsClient(c).Propose(ctx, &pb.ProposeRequest{})
			return err
		},
		"GetDirectory": func(ctx context.Context, c *grpc.ClientConn) error {
			_, err := pb.NewFederationClient(c).GetDirectory(ctx, &pb.GetDirectoryRequest{})
			return err
		},
		"Version": func(ctx context.Context, c *grpc.ClientConn) error {
			_, err := pb.NewOperatorClient(c).Version(ctx, &pb.VersionRequest{})
			return err
		},
		"Evacuate": func(ctx context.Context, c *grpc.ClientConn) error {
			_, err := pb.NewOperatorClient(c).Evacuate(ctx, &pb.EvacuateRequest{})
			return err
		},
		"CreateToken": func(ctx context.Context, c *grpc.ClientConn) error {
			_, err := pb.NewOperatorClient(c).CreateToken(ctx, &pb.CreateTokenRequest{})
			return err
		},
	}
	allowed := map[string]string{
		"Hello":        "stranger",
		"Propose":      "sibling",
		"GetDirectory": "sibling replica",
		"Version":      "viewer operator admin local",
		"Evacuate":     "operator admin local",
		"CreateToken":  "admin local",
	}
	for method, call := range methods {
		for caller, conn := range callers {
			err := call(t.Context(), conn)
			if strings.Contains(" "+allowed[method]+" ", " "+caller+" ") {
				if err != nil {
					t.Errorf("%s by %s: %v", method, caller, err)
				}
				continue
			}
			if status.Code(err) != codes.PermissionDenied || rpc.Reason(err) != rpc.ReasonNotAllowed {
				t.Errorf("%s by %s: expected a refusal, found %v", method, caller, err)
			}
		}
	}
}

func TestTheAuditTrailLearnsWhoAndFromWhere(t *testing.T) {
	w := newWorld(t)
	vera := w.domain.Operator("us-west", "vera")
	got, err := pb.NewOperatorClient(w.as(vera)).Version(t.Context(), &pb.VersionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetVersion() != vera.ID.String() || !strings.HasPrefix(got.GetPlatform(), "127.0.0.1:") {
		t.Errorf("expected %s from 127.0.0.1, found %s from %s", vera.ID, got.GetVersion(), got.GetPlatform())
	}
	got, err = pb.NewOperatorClient(w.local()).Version(t.Context(), &pb.VersionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.GetVersion(), "uid:") || !strings.HasPrefix(got.GetPlatform(), "socket pid:") {
		t.Errorf("expected a uid on the socket, found %s from %s", got.GetVersion(), got.GetPlatform())
	}
}

func TestAPanicFailsOneCallAndIsLogged(t *testing.T) {
	w := newWorld(t)
	c := pb.NewOperatorClient(w.local())
	_, err := c.Check(t.Context(), &pb.CheckRequest{})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("expected an internal error without details, found %v", err)
	}
	backup, err := c.Backup(t.Context(), &pb.BackupRequest{})
	if err == nil {
		_, err = backup.Recv()
	}
	if status.Code(err) != codes.Internal {
		t.Errorf("stream: expected an internal error, found %v", err)
	}
	if _, err := c.Version(t.Context(), &pb.VersionRequest{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if !strings.Contains(w.log.String(), "a call panicked") {
		t.Error("expected the panic in the log")
	}
}

func TestAFloodOfFailuresIsNotAFloodOfLogLines(t *testing.T) {
	w := newWorld(t)
	c := pb.NewOperatorClient(w.as(w.domain.Operator("us-west", "mallory")))
	start := time.Now()
	for range 200 {
		_, _ = c.Version(t.Context(), &pb.VersionRequest{})
	}
	lines := strings.Count(w.log.String(), "\n")
	if most := 21 + int(time.Since(start)/time.Second); lines < 1 || lines > most { // 20 at once, and one a second
		t.Errorf("expected 1 to %d lines for 200 failures, found %d", most, lines)
	}
}

func TestATooLargeMessageIsRefused(t *testing.T) {
	w := newWorld(t)
	_, err := pb.NewEnrollmentClient(w.stranger()).Hello(t.Context(), &pb.HelloRequest{Nonce: make([]byte, 1<<20)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("expected ResourceExhausted, found %v", err)
	}
}

func TestALocalClientSaysThatNoAgentRuns(t *testing.T) {
	cc, err := rpc.LocalClient(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	_, err = pb.NewOperatorClient(cc).Version(t.Context(), &pb.VersionRequest{})
	if err == nil || !strings.Contains(err.Error(), "is the agent running") {
		t.Errorf("expected a hint, found %v", err)
	}
}

func TestAReasonCrossesAndForeignErrorsHaveNone(t *testing.T) {
	err := rpc.Error(codes.AlreadyExists, "NAME_TAKEN", "taken")
	if rpc.Reason(err) != "NAME_TAKEN" || status.Convert(err).Message() != "taken" {
		t.Errorf("found %v", err)
	}
	for _, other := range []error{nil, os.ErrNotExist, status.Error(codes.NotFound, "x")} {
		if got := rpc.Reason(other); got != "" {
			t.Errorf("%v: expected no reason, found %q", other, got)
		}
	}
}
