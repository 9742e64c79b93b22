package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/peering/pb"
)

var (
	errStalled  = errors.New("no bytes for too long")
	errNoAnswer = errors.New("no answer in time")
	errBetter   = errors.New("a replica of the region can be had")
	errClosed   = errors.New("closed")
)

// session is one open stream from an upstream, past its hello.
type session struct {
	up       upstream
	core     *receiver
	stream   grpc.ServerStreamingClient[pb.WatchEvent]
	conn     io.Closer
	ctx      context.Context
	cancel   context.CancelCauseFunc
	timer    *time.Timer
	patience time.Duration
	filled   chan struct{} // closed once caught up for the first time
	filling  sync.Once
}

// open connects to an upstream and reads the hello. The session lives as long as
// life; ctx bounds only the opening.
func (l *link) open(ctx, life context.Context, up upstream, full bool) (_ *session, err error) {
	s := &session{up: up, filled: make(chan struct{}), core: &receiver{
		region:  l.region,
		relayed: up.relays,
		removed: func(epoch uint64) bool { return l.im.cfg.Removed(l.region, epoch) },
		held:    l.im.cfg.Sink.Version(l.region),
		partial: l.im.cfg.Sink.Partial(l.region),
	}}
	s.ctx, s.cancel = context.WithCancelCause(life)
	defer context.AfterFunc(ctx, func() { s.cancel(context.Cause(ctx)) })()
	s.timer = time.AfterFunc(l.im.cfg.Stall, func() { s.cancel(errNoAnswer) })
	defer func() {
		if err != nil {
			err = s.cause(err)
			s.close()
		}
	}()
	conn, closer, err := l.im.cfg.Dial(s.ctx, up.Replica)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", up.PeerAddress, err)
	}
	s.conn = closer
	s.stream, err = pb.NewReplicationClient(conn).Watch(s.ctx, &pb.WatchRequest{
		Region:      l.region,
		From:        VersionToPB(s.core.held),
		Full:        full || s.core.partial,
		CallerEpoch: l.im.cfg.Epoch(),

		CallerPeerAddress:   l.im.cfg.PeerAddress,
		CallerGossipAddress: l.im.cfg.GossipAddress,
	}, grpc.MaxCallRecvMsgSize(maxMessageBytes))
	if err != nil {
		return nil, err
	}
	ev, err := s.stream.Recv()
	if err != nil {
		return nil, err
	}
	if _, err = s.core.take(ev); err != nil {
		return nil, err
	}
	s.timer.Stop()
	s.patience = l.patience()
	s.timer = time.AfterFunc(s.patience, func() { s.cancel(errStalled) })
	return s, nil
}

// recv waits for the next event; an error says why there is none.
func (s *session) recv() (*pb.WatchEvent, error) {
	ev, err := s.stream.Recv()
	if err != nil {
		return nil, s.cause(err)
	}
	s.timer.Reset(s.patience)
	return ev, nil
}

// cause finds why a stream broke: the reason it was cancelled for comes first.
func (s *session) cause(err error) error {
	if c := context.Cause(s.ctx); c != nil {
		return c
	}
	if errors.Is(err, io.EOF) {
		return errors.New("the server ended the stream")
	}
	if st, ok := status.FromError(err); ok {
		if st.Code() == codeUnheard {
			return errUnheard
		}
		return errors.New(st.Message())
	}
	return err
}

// fill tells that the session has caught up.
func (s *session) fill() {
	s.filling.Do(func() { close(s.filled) })
}

func (s *session) close() {
	s.timer.Stop()
	s.cancel(errClosed)
	if s.conn != nil {
		s.conn.Close()
	}
}
