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
	// inner is where a replica is reached besides at its address; "" for nowhere.
	inner func(region, name string) string

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

func newPeers(trustDomain string, dialer *port.Dialer, inner func(region, name string) string) *peers {
	return &peers{trustDomain: trustDomain, dialer: dialer, inner: inner, clients: map[string]*client{}}
}

// dial makes a connection of its own, which the caller closes.
func (p *peers) dial(_ context.Context, r catalog.Replica) (grpc.ClientConnInterface, io.Closer, error) {
	c, err := p.open(r)
	return c, c, err
}

func (p *peers) open(r catalog.Replica) (*grpc.ClientConn, error) {
	return rpc.Client(func(ctx context.Context) (net.Conn, error) {
		return p.reach(ctx, port.GRPC, r.Region, r.Name, r.PeerAddress)
	})
}

// headStart is how long a connection to one address of a replica may take before
// another is tried as well.
const headStart = 300 * time.Millisecond

// reach connects to a replica at its address, or where it is reached besides:
// whichever answers with its identity first.
func (p *peers) reach(ctx context.Context, protocol, region, name, address string) (net.Conn, error) {
	only := identity.AllowID(identity.ReplicaID(p.trustDomain, region, name))
	inner := p.inner(region, name)
	if inner == "" || inner == address {
		return p.dialer.Dial(ctx, protocol, address, only)
	}
	return race(ctx, headStart, []string{inner, address}, func(ctx context.Context, address string) (net.Conn, error) {
		return p.dialer.Dial(ctx, protocol, address, only)
	})
}

// race dials addresses, each one when the one before has failed or its head start
// is over. It returns the first connection, after all other dials have ended.
func race(ctx context.Context, headStart time.Duration, addresses []string, dial func(context.Context, string) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, len(addresses))
	turn := make(chan struct{}) // closed when the next may begin
	close(turn)
	for _, address := range addresses {
		mine, next := turn, make(chan struct{})
		turn = next
		go func() {
			select {
			case <-mine:
			case <-ctx.Done():
			}
			early := time.AfterFunc(headStart, func() { close(next) })
			conn, err := dial(ctx, address)
			if early.Stop() {
				close(next)
			}
			results <- result{conn, err}
		}()
	}
	var won net.Conn
	var errs []error
	for range addresses {
		switch r := <-results; {
		case r.err != nil:
			errs = append(errs, r.err)
		case won == nil:
			won = r.conn
			cancel()
		default:
			_ = r.conn.Close()
		}
	}
	if won == nil {
		return nil, errors.Join(errs...)
	}
	return won, nil
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
	peers  *peers
	region string
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
	return s.peers.reach(ctx, port.Raft, s.region, name, target)
}
