package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
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
	clients map[string]*client // by region/name@address
}

// client is a shared connection.
type client struct {
	*grpc.ClientConn
	used time.Time
}

// clientIdle is how long a shared connection is kept unused: longer than any call,
// and not for ever, because replicas move.
const clientIdle = 5 * time.Minute

func newPeers(trustDomain string, dialer *port.Dialer) *peers {
	return &peers{trustDomain: trustDomain, dialer: dialer, clients: map[string]*client{}}
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
		c.used = time.Now()
		return c.ClientConn, nil
	}
	p.closeIdle()
	c, err := p.open(r)
	if err != nil {
		return nil, err
	}
	p.clients[key] = &client{c, time.Now()}
	return c, nil
}

// closeIdle drops the connections that nobody uses, such as those to addresses
// that replicas have left.
func (p *peers) closeIdle() {
	for key, c := range p.clients {
		if time.Since(c.used) > clientIdle {
			_ = c.Close()
			delete(p.clients, key)
		}
	}
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

// unanswered says which replica could not be asked, and why.
type unanswered struct {
	replica catalog.Replica
	err     error
}

func (u *unanswered) Error() string {
	return fmt.Sprintf("replica %s of %s (%s) does not answer: %s", u.replica.Name, u.replica.Region, u.replica.PeerAddress, status.Convert(u.err).Message())
}

func (u *unanswered) Unwrap() error { return u.err }

// ask calls try with one replica after the other until one answers.
func ask[T any](ctx context.Context, p *peers, replicas []catalog.Replica, timeout time.Duration, try func(context.Context, *grpc.ClientConn) (T, error)) (T, error) {
	var zero T
	errs := []error{}
	for _, r := range replicas {
		c, err := p.client(r)
		if err != nil {
			errs = append(errs, &unanswered{r, err})
			continue
		}
		one, cancel := context.WithTimeout(ctx, timeout)
		answer, err := try(one, c)
		cancel()
		if err == nil || rpc.Reason(err) != "" && !errors.Is(enroll.FromStatus(err), enroll.ErrUnavailable) {
			return answer, err // it decided
		}
		errs = append(errs, &unanswered{r, err})
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
	dialer              *port.Dialer
	trustDomain, region string
}

// raftAddress is where the Raft of a replica is reached and who has to answer
// there: another replica may have taken over the address meanwhile.
func raftAddress(name, address string) string { return name + "|" + address }

// Dial implements raft.StreamLayer, for addresses that [raftAddress] made.
func (s raftStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	name, target, ok := strings.Cut(string(address), "|")
	if !ok {
		return nil, fmt.Errorf("raft address %q: expected NAME|HOST:PORT", address)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.dialer.Dial(ctx, port.Raft, target, identity.AllowID(identity.ReplicaID(s.trustDomain, s.region, name)))
}
