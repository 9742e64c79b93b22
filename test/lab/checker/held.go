package checker

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/federator/federator/peering/pb"
)

// longLived is how old a connection may get before its server ends it by rule
// (an hour, with the tenth that gRPC spreads it by).
const longLived = 50 * time.Minute

// errEnded means that the one connection of a held line is gone.
var errEnded = errors.New("the connection ended")

// hold keeps one connection to the other end and calls it over and over. That it
// ends is a violation, and another one is opened.
func (p *MTLSProber) hold(ctx context.Context, pair pair, first time.Duration) {
	if !sleep(ctx, first) {
		return
	}
	for ctx.Err() == nil {
		began := time.Now()
		err := p.holdOne(ctx, pair)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) < longLived {
			p.blame(pair, time.Now(), "a long connection that stays", err)
		}
		sleep(ctx, p.opt.Every)
	}
}

// holdOne opens a connection and returns why it ended.
func (p *MTLSProber) holdOne(ctx context.Context, pair pair) error {
	var dialled atomic.Bool
	once := func(ctx context.Context, _ string) (net.Conn, error) {
		if dialled.Swap(true) {
			return nil, errEnded
		}
		return p.connect(ctx, pair)
	}
	// The connection is TLS already when gRPC gets it.
	conn, err := grpc.NewClient("passthrough:///"+pair.to.Peer, grpc.WithContextDialer(once), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	agent := pb.NewOperatorClient(conn)
	for {
		short, cancel := context.WithTimeout(ctx, p.opt.Timeout)
		_, err := agent.Version(short, &pb.VersionRequest{})
		cancel()
		if err != nil {
			return err
		}
		p.calls.Add(1)
		if !sleep(ctx, p.opt.Every) {
			return nil
		}
	}
}
