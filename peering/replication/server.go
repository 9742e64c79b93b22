package replication

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// Caller is who asks for a stream, as the certificate says.
type Caller struct{ Region, Replica string }

// ServerConfig is what a [Server] needs. Fields without a default are required.
type ServerConfig struct {
	// Region and Replica are the serving replica's own.
	Region, Replica string
	Exports         Exports
	// Caller tells who is at the other end of a call, from the TLS connection.
	Caller func(context.Context) (Caller, error)
	// Removed reports whether an epoch of a region was removed from the
	// federation; nil means that none was.
	Removed func(region string, epoch uint64) bool
	// Heard is told where a caller says that it is reached; nil: nobody.
	Heard func(caller Caller, peerAddress, gossipAddress string)
	// Evidence is when an imported region was last heard from; the streams of
	// what is relayed carry its age. It is [Importer.Evidence]; nil means never.
	Evidence func(region string) time.Time
	// Unheard reports whether nothing arrives from a region any more; nil means
	// that it always does. Streams to it are ended then: see [codeUnheard].
	Unheard    func(region string) bool
	Logger     *slog.Logger          // default: discard
	Registerer prometheus.Registerer // default: none
	Now        func() time.Time      // default: time.Now
	// Heartbeat is how often a stream says that it lives (default 500 ms).
	Heartbeat time.Duration
	// SendTimeout is how long a consumer may take no byte before its stream is
	// ended (default 30 s).
	SendTimeout time.Duration
	// MaxStreams bounds the streams served at once (default 1024).
	MaxStreams int
}

// Server serves regions to the replicas of others. It implements
// pb.ReplicationServer.
type Server struct {
	pb.UnimplementedReplicationServer
	cfg     ServerConfig
	streams atomic.Int64
	metrics *serverMetrics
}

// NewServer returns a server. It fails only if its metrics cannot be registered.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Removed == nil {
		cfg.Removed = func(string, uint64) bool { return false }
	}
	if cfg.Evidence == nil {
		cfg.Evidence = func(string) time.Time { return time.Time{} }
	}
	if cfg.Unheard == nil {
		cfg.Unheard = func(string) bool { return false }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	orDefault(&cfg.Heartbeat, 500*time.Millisecond)
	orDefault(&cfg.SendTimeout, 30*time.Second)
	orDefault(&cfg.MaxStreams, 1024)
	s := &Server{cfg: cfg}
	var err error
	s.metrics, err = newServerMetrics(cfg.Registerer, func() float64 { return float64(s.streams.Load()) })
	return s, err
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Watch implements pb.ReplicationServer.
func (s *Server) Watch(req *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchEvent]) error {
	defer s.streams.Add(-1)
	if s.streams.Add(1) > int64(s.cfg.MaxStreams) {
		return status.Errorf(codes.ResourceExhausted, "%d streams are served already: ask another replica", s.cfg.MaxStreams)
	}
	caller, err := s.admit(stream.Context(), req)
	if err != nil {
		return err
	}
	return s.guard(stream.Context(), &watch{
		server:  s,
		region:  req.GetRegion(),
		relayed: req.GetRegion() != s.cfg.Region,
		stream:  stream,
		caller:  caller,
		epoch:   req.GetCallerEpoch(),
		held:    VersionFromPB(req.GetFrom()),
		full:    req.GetFull(),
	})
}

// admit checks who asks for what.
func (s *Server) admit(ctx context.Context, req *pb.WatchRequest) (Caller, error) {
	caller, err := s.cfg.Caller(ctx)
	if err != nil {
		return caller, status.Errorf(codes.Unauthenticated, "replication is for replicas of the federation: %v", err)
	}
	if peer, gossip := req.GetCallerPeerAddress(), req.GetCallerGossipAddress(); s.cfg.Heard != nil && isAddress(peer) && isAddress(gossip) {
		s.cfg.Heard(caller, peer, gossip)
	}
	if err := catalog.ValidateLabel("region", req.GetRegion()); err != nil {
		return caller, status.Error(codes.InvalidArgument, err.Error())
	}
	if req.GetRegion() != s.cfg.Region && caller.Region != s.cfg.Region {
		return caller, status.Errorf(codes.PermissionDenied,
			"replica %q of region %q asked region %q for region %q: only siblings relay; ask a replica of %q",
			caller.Replica, caller.Region, s.cfg.Region, req.GetRegion(), req.GetRegion())
	}
	if s.cfg.Exports.Version(req.GetRegion()) == (catalog.Version{}) {
		return caller, status.Errorf(codes.NotFound, "region %q is not known here yet", req.GetRegion())
	}
	return caller, nil
}

// isAddress reports whether a caller's word for where it is reached can be used.
func isAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	return err == nil && len(s) <= maxText && host != "" && port != ""
}

// codeUnheard ends a stream to a region from which nothing arrives any more. If
// packets are lost one way only, what is sent there still arrives, for as long as
// TCP sends without an answer, and is evidence that all is well; this is the
// truth, and the consumer takes that evidence back.
const codeUnheard = codes.Aborted

var (
	errSlowConsumer = errors.New("the consumer took nothing for too long")
	errUnheard      = errors.New("nothing arrives there from this region any more")
)

// listenEvery is how often a stream looks whether its consumer's region is heard.
const listenEvery = 200 * time.Millisecond

// guard runs a watch, and ends it when the consumer takes nothing or its region
// falls silent. The watch blocks in Send then, which only returning from the
// handler can end.
func (s *Server) guard(ctx context.Context, w *watch) error {
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	ticker := time.NewTicker(s.cfg.SendTimeout)
	defer ticker.Stop()
	listen := time.NewTicker(listenEvery)
	defer listen.Stop()
	// A region that was silent when it asked is on its way back.
	unheard := s.unheard(w.caller)
	for before := int64(-1); ; {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-listen.C:
			was := unheard
			if unheard = s.unheard(w.caller); unheard && !was {
				return status.Error(codeUnheard, errUnheard.Error())
			}
		case <-ticker.C:
			if sent := w.sent.Load(); sent == before {
				s.cfg.Logger.Warn("replication stream ended", "region", w.region, "error", errSlowConsumer)
				return status.Error(codes.DeadlineExceeded, errSlowConsumer.Error())
			} else {
				before = sent
			}
		}
	}
}

func (s *Server) unheard(c Caller) bool { return c.Region != s.cfg.Region && s.cfg.Unheard(c.Region) }
