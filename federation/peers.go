package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/port"
	"github.com/federator/federator/peering/rpc"
)

// peers opens connections to other replicas, each proven to be the one meant.
type peers struct {
	trustDomain string
	dialer      *port.Dialer

	mu      sync.Mutex
	clients map[string]*grpc.ClientConn
}

func newPeers(trustDomain string, dialer *port.Dialer) *peers {
	return &peers{trustDomain: trustDomain, dialer: dialer, clients: map[string]*grpc.ClientConn{}}
}

// dial makes a connection of its own, which the caller closes.
func (p *peers) dial(_ context.Context, r catalog.Replica) (grpc.ClientConnInterface, io.Closer, error) {
	c, err := p.open(r)
	return c, c, err
}

func (p *peers) open(r catalog.Replica) (*grpc.ClientConn, error) {
	only := identity.AllowID(identity.ReplicaID(p.trustDomain, r.Region, r.Name))
	return rpc.Client(func(ctx context.Context) (net.Conn, error) {
		return p.dialer.Dial(ctx, port.GRPC, r.PeerAddress, only)
	})
}

// client returns the shared connection to a replica, for short calls.
func (p *peers) client(r catalog.Replica) (*grpc.ClientConn, error) {
	key := r.Region + "/" + r.Name + "@" + r.PeerAddress
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[key]; c != nil {
		return c, nil
	}
	c, err := p.open(r)
	if err != nil {
		return nil, err
	}
	p.clients[key] = c
	return c, nil
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		_ = c.Close()
	}
	clear(p.clients)
}

// errNobody means that no replica of a region could be asked.
var errNobody = errors.New("no replica of the region is known")

// ask calls try with one replica after the other until one answers.
func ask[T any](ctx context.Context, p *peers, replicas []catalog.Replica, timeout time.Duration, try func(context.Context, *grpc.ClientConn) (T, error)) (T, error) {
	var zero T
	errs := []error{}
	for _, r := range replicas {
		c, err := p.client(r)
		if err != nil {
			return zero, err
		}
		one, cancel := context.WithTimeout(ctx, timeout)
		answer, err := try(one, c)
		cancel()
		if err == nil || rpc.Reason(err) != "" && !errors.Is(enroll.FromStatus(err), enroll.ErrUnavailable) {
			return answer, err // it decided
		}
		errs = append(errs, fmt.Errorf("replica %s of %s (%s) does not answer: %s", r.Name, r.Region, r.PeerAddress, status.Convert(err).Message()))
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		return zero, errNobody
	}
	return zero, errors.Join(errs...)
}

// raftStream carries Raft between the replicas of one region; it is a
// raft.StreamLayer.
type raftStream struct {
	net.Listener
	dialer *port.Dialer
	only   identity.Authoriser
}

// Dial implements raft.StreamLayer.
func (s raftStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.dialer.Dial(ctx, port.Raft, string(address), s.only)
}
