package checker

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/federator/federator/peering/pb"
)

// well answers check with one problem and status with none.
type well struct{ pb.UnimplementedOperatorServer }

func (well) Check(context.Context, *pb.CheckRequest) (*pb.CheckResponse, error) {
	return &pb.CheckResponse{Problems: []*pb.Problem{{Code: "few-replicas", Subject: "region west"}}}, nil
}

func (well) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	return &pb.StatusResponse{Ready: true, Raft: &pb.RaftStatus{Leader: "west-0"}}, nil
}

func TestTheBaselineIsAskedForAgainWhileAnAgentDoesNotAnswer(t *testing.T) {
	dir, err := os.MkdirTemp("", "s-") // not t.TempDir: a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	target := Target{Region: "west", Name: "west-0", Socket: filepath.Join(dir, "s")}
	p := NewProblems([]Target{target}, time.Second)
	server := grpc.NewServer()
	pb.RegisterOperatorServer(server, well{})
	served := make(chan error, 1)
	go func() {
		time.Sleep(2 * connectWithin) // as long as a busy machine lets an agent stand still
		l, err := net.Listen("unix", target.Socket)
		if err == nil {
			err = server.Serve(l)
		}
		served <- err
	}()
	if err := p.Baseline(t.Context()); err != nil {
		t.Errorf("expected the answer that came late, found %v", err)
	}
	if found := p.baseline[target.String()]; len(found) != 1 || found[0].Code != "few-replicas" {
		t.Errorf("expected what check said, found %v", found)
	}
	server.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := p.Baseline(ctx); err == nil {
		t.Error("expected an error of an agent that never answers, found none")
	}
}
