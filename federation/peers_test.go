package federation

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hashicorp/raft"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/port"
)

func TestRaftIsSpokenOnlyWithTheReplicaThatIsMeant(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	b := west.admit(t, "us-west", "b", "")
	stream := raftStream{peers: west.peers, region: "us-west"}
	there := b.card.Replica.PeerAddress
	for name, ok := range map[string]bool{"b": true, "c": false} {
		conn, err := stream.Dial(raft.ServerAddress(raftAddress(name, there)), patience)
		if (err == nil) != ok {
			t.Errorf("%s at the address of b: expected a connection: %v, found %v", name, ok, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	eventually(t, patience, "a knows where b is", func() bool {
		address, ok := west.addressOf(b.card.Replica.RaftID())
		return ok && address == raftAddress("b", there)
	})
	west.mu.Lock()
	west.reached["b.emptied"], west.reached["gone.disk"], west.reached["left.disk"] = "127.0.0.1:1", there, "127.0.0.1:2"
	west.mu.Unlock()
	for id, known := range map[string]bool{"b.emptied": false, "gone.disk": false, "left.disk": true} {
		if _, ok := west.addressOf(id); ok != known {
			t.Errorf("%s: expected its address to be known: %v, found %v", id, known, ok)
		}
	}
}

func TestUnusedConnectionsAreClosed(t *testing.T) {
	p := newPeers("test.example", &port.Dialer{}, func(string, string) string { return "" })
	defer p.close()
	old, err := p.client(catalog.Replica{Region: "us-west", Name: "a", PeerAddress: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range p.clients {
		c.used = c.used.Add(-2 * clientIdle)
	}
	moved := catalog.Replica{Region: "us-west", Name: "a", PeerAddress: "127.0.0.1:2"}
	for range 2 {
		if _, err := p.client(moved); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.clients) != 1 || old.GetState().String() != "SHUTDOWN" {
		t.Fatalf("expected only the connection to the new address, found %d, the old one %s", len(p.clients), old.GetState())
	}
}

func TestTheCauseOfAnUnansweredQuestionIsKept(t *testing.T) {
	p := newPeers("test.example", &port.Dialer{}, func(string, string) string { return "" })
	defer p.close()
	cause := errors.New("cause")
	replicas := []catalog.Replica{{Region: "us-west", Name: "a", PeerAddress: "127.0.0.1:1"}}
	try := func(err error) error {
		_, err = ask(context.Background(), p, replicas, time.Second, func(context.Context, *grpc.ClientConn) (int, error) { return 0, err })
		return err
	}
	if err := try(cause); !errors.Is(err, cause) {
		t.Errorf("expected the cause, found %v", err)
	}
	if err := try(status.Error(codes.Unavailable, "down")); status.Code(err) != codes.Unavailable {
		t.Errorf("expected the code, found %v", err)
	}
}
