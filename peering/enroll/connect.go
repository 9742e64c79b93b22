package enroll

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/port"
	"github.com/federator/federator/peering/rpc"
	"github.com/federator/federator/peering/token"
)

// joinAt does all the steps of the package's description at one address.
func (j *Joiner) joinAt(ctx context.Context, address string, t token.Token, req *pb.EnrollRequest, r Request) (*Result, error) {
	j.say("connecting to " + address)
	proof := &prover{pins: identity.Pins{TrustDomain: t.TrustDomain, Roots: t.Pins}, region: t.Region, now: j.Now}
	client, done, err := j.connect(ctx, address, proof)
	if err != nil {
		return nil, err
	}
	defer done()
	j.say("the server is proven; comparing clocks")
	skew, err := j.hello(ctx, client, proof)
	if err != nil {
		return nil, err
	}
	j.say("asking to be let in")
	resp, err := client.Enroll(ctx, req)
	if err != nil {
		return nil, FromStatus(err)
	}
	result, err := proof.verify(resp, r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	result.Skew, result.Address = skew, address
	return result, nil
}

// connect proves the server before it returns.
func (j *Joiner) connect(ctx context.Context, address string, proof *prover) (pb.EnrollmentClient, func(), error) {
	conn, err := port.DialTLS(ctx, address, proof.config(), 0)
	if err != nil {
		return nil, nil, dialError(err)
	}
	cc, err := rpc.Client(once(conn), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(rpc.MaxMessage)))
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return pb.NewEnrollmentClient(cc), func() { _ = cc.Close(); _ = conn.Close() }, nil
}

// once hands out the one connection that is proven, and never another.
func once(conn *tls.Conn) rpc.Connect {
	first := make(chan net.Conn, 1)
	first <- conn
	return func(context.Context) (net.Conn, error) {
		select {
		case c := <-first:
			return c, nil
		default:
			return nil, errors.New("the connection was lost")
		}
	}
}

// dialError classifies a failure to connect; each adds the address.
func dialError(err error) error {
	var dial *port.DialError
	if errors.As(err, &dial) {
		err = dial.Err
	}
	switch {
	case errors.Is(err, ErrWrongPin), errors.Is(err, ErrNotOurs):
		return err
	case errors.Is(err, port.ErrUnreachable):
		return fmt.Errorf("%w (%w)", ErrUnreachable, err)
	}
	return fmt.Errorf("%w (something answers there, but does not enrol now; is this a replica's peer port? %w)", ErrUnreachable, err)
}

// hello measures how far the server's clock is ahead of ours, to half the time
// that the answer took, and refuses clocks or certificates that would not work.
func (j *Joiner) hello(ctx context.Context, client pb.EnrollmentClient, proof *prover) (time.Duration, error) {
	skew, _, err := j.greet(ctx, client, proof)
	return skew, err
}

// greet is hello, which also tells what the server said.
func (j *Joiner) greet(ctx context.Context, client pb.EnrollmentClient, proof *prover) (time.Duration, *pb.HelloResponse, error) {
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		return 0, nil, fmt.Errorf("make a nonce: %w", err)
	}
	before := j.Now()
	resp, err := client.Hello(ctx, &pb.HelloRequest{Nonce: nonce})
	if err != nil {
		return 0, nil, FromStatus(err)
	}
	after := j.Now()
	if !bytes.Equal(resp.GetNonce(), nonce) || resp.GetTime().CheckValid() != nil {
		return 0, nil, fmt.Errorf("%w: hello", ErrAnswer)
	}
	if resp.GetRegion() != proof.region || resp.GetTrustDomain() != proof.pins.TrustDomain {
		return 0, nil, fmt.Errorf("%w: expected region %s of %s, found %.64q of %.64q", ErrAnswer, proof.region, proof.pins.TrustDomain, resp.GetRegion(), resp.GetTrustDomain())
	}
	skew := resp.GetTime().AsTime().Sub(before.Add(after.Sub(before) / 2))
	return skew, resp, proof.checkClock(after, skew)
}
