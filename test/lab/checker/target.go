package checker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/federator/federator/peering/pb"
)

// DialFunc opens a connection from a certain place, such as a network namespace;
// the DialContext of a net.Dialer on plain loopback.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Target is a replica to look at. The address fields are host:port.
type Target struct {
	Region, Name    string
	Socket          string // the path of the operator's socket
	Peer, DNS, HTTP string
	// Dial connects from where the replica is. Nil means from here.
	Dial DialFunc
}

// String returns "region/name".
func (t Target) String() string { return t.Region + "/" + t.Name }

// dial connects from where the replica is.
func (t Target) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if t.Dial == nil {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return t.Dial(ctx, network, address)
}

// of returns the targets of a region.
func of(targets []Target, region string) []Target {
	return slices.DeleteFunc(slices.Clone(targets), func(t Target) bool { return t.Region != region })
}

// errNoAgent means that no agent took the call, so that it had no effect.
var errNoAgent = errors.New("no agent takes calls")

// connectWithin bounds how long a call waits for the agent to be there.
const connectWithin = 300 * time.Millisecond

// line is a connection to the socket of an agent that comes and goes.
type line struct {
	target Target
	conn   *grpc.ClientConn
}

// newLine connects at the first call. Close it when done.
func newLine(t Target) (*line, error) {
	again := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond}
	conn, err := grpc.NewClient("unix:"+t.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return &line{t, conn}, nil
}

func (l *line) close() { _ = l.conn.Close() } // it was for asking only

// call asks the agent. [errNoAgent] says that it certainly did not hear; after
// any other error it may have.
func (l *line) call(ctx context.Context, within time.Duration, ask func(context.Context, pb.OperatorClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := l.ready(ctx); err != nil {
		return err
	}
	return ask(ctx, pb.NewOperatorClient(l.conn))
}

func (l *line) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	for {
		state := l.conn.GetState()
		if state == connectivity.Ready {
			return nil
		}
		l.conn.Connect()
		if !l.conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf("%s: %w: its socket is %v", l.target, errNoAgent, state)
		}
	}
}

// lines are connections to several agents.
type lines []*line

func newLines(targets []Target) (lines, error) {
	var all lines
	for _, t := range targets {
		l, err := newLine(t)
		if err != nil {
			all.close()
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func (all lines) close() {
	for _, l := range all {
		l.close()
	}
}

// each asks all at once and returns the errors in the same order.
func (all lines) each(ask func(i int, l *line) error) []error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, l := range all {
		wg.Go(func() { errs[i] = ask(i, l) })
	}
	wg.Wait()
	return errs
}

// sleep waits, and reports whether ctx still goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
