package replication

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// stuck is a stream whose consumer takes nothing.
type stuck struct {
	grpc.ServerStream
	ctx     context.Context
	started chan struct{}
}

func (s *stuck) Context() context.Context { return s.ctx }

func (s *stuck) Send(*pb.WatchEvent) error {
	close(s.started)
	<-s.ctx.Done()
	return s.ctx.Err()
}

func testServer(t *testing.T, change func(*ServerConfig)) *Server {
	t.Helper()
	cfg := ServerConfig{Region: "eu", Replica: "eu-0", Exports: newOrigin("eu", 1).Feed,
		Caller: func(context.Context) (Caller, error) { return Caller{"us", "us-0"}, nil }}
	change(&cfg)
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAConsumerThatTakesNothingLosesItsStream(t *testing.T) {
	s := testServer(t, func(c *ServerConfig) { c.SendTimeout = 10 * time.Millisecond })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := s.Watch(&pb.WatchRequest{Region: "eu"}, &stuck{ctx: ctx, started: make(chan struct{})})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("got %v", err)
	}
}

func TestAStreamEndsWhenItsConsumerFallsSilentButNotWhileItComesBack(t *testing.T) {
	for name, c := range map[string]struct {
		caller string
		heard  []bool // look by look; the last stays
		want   codes.Code
	}{
		"falls silent":                         {"us", []bool{true, true, false}, codeUnheard},
		"was silent when it asked":             {"us", []bool{false}, codes.DeadlineExceeded},
		"comes back and falls silent":          {"us", []bool{false, true, false}, codeUnheard},
		"a sibling of the server is not asked": {"eu", []bool{true, false}, codes.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			looks := 0
			s := testServer(t, func(cfg *ServerConfig) {
				cfg.SendTimeout = 4 * listenEvery
				if c.want == codeUnheard {
					cfg.SendTimeout = 100 * listenEvery // that ends it first, also when looks are late
				}
				cfg.Caller = func(context.Context) (Caller, error) { return Caller{c.caller, "r-0"}, nil }
				cfg.Unheard = func(region string) bool {
					if region != c.caller {
						t.Errorf("asked of %s, want %s", region, c.caller)
					}
					looks++
					return !c.heard[min(looks, len(c.heard))-1]
				}
			})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			err := s.Watch(&pb.WatchRequest{Region: "eu"}, &stuck{ctx: ctx, started: make(chan struct{})})
			if status.Code(err) != c.want {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestARegionThatDoesNotHearUsIsNoEvidenceOfTheWayThere(t *testing.T) {
	im, err := NewImporter(ImporterConfig{Region: "us", Sink: newOrigin("us", 1).Tee})
	if err != nil {
		t.Fatal(err)
	}
	l := newLink(im, "eu")
	direct := func() *session {
		return &session{up: upstream{}, core: &receiver{region: "eu"}, ctx: context.Background()}
	}
	s := direct()
	l.begin(s)
	if l.evidence().IsZero() {
		t.Fatal("expected a stream to be evidence")
	}
	l.failed(s.up, s.cause(status.Error(codes.Unavailable, "gone")))
	if l.evidence().IsZero() {
		t.Fatal("expected a stream that broke to have been evidence")
	}
	l.failed(s.up, s.cause(status.Error(codeUnheard, "")))
	if at := l.evidence(); !at.IsZero() {
		t.Fatalf("expected none, found %v", at)
	}
	l.begin(direct())
	if l.evidence().IsZero() {
		t.Fatal("expected a new stream to be evidence again")
	}
}

func TestStreamsBeyondTheLimitAreRefused(t *testing.T) {
	s := testServer(t, func(c *ServerConfig) { c.MaxStreams = 1 })
	ctx, cancel := context.WithCancel(context.Background())
	first := &stuck{ctx: ctx, started: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- s.Watch(&pb.WatchRequest{Region: "eu"}, first) }()
	<-first.started
	if err := s.Watch(&pb.WatchRequest{Region: "eu"}, &stuck{ctx: ctx}); status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("got %v", err)
	}
	cancel()
	<-done
	if n := s.streams.Load(); n != 0 {
		t.Fatalf("%d streams counted after all ended", n)
	}
}

func TestACallerWithoutAnIdentityIsRefused(t *testing.T) {
	s := testServer(t, func(c *ServerConfig) {
		c.Caller = func(context.Context) (Caller, error) { return Caller{}, errors.New("no certificate") }
	})
	err := s.Watch(&pb.WatchRequest{Region: "eu"}, &stuck{ctx: context.Background()})
	if status.Code(err) != codes.Unauthenticated {
		t.Fatalf("got %v", err)
	}
}

func TestPatienceGrowsWhileStreamsStallBeforeTheyAreCaughtUp(t *testing.T) {
	im, err := NewImporter(ImporterConfig{Region: "us", Sink: newOrigin("us", 1).Tee})
	if err != nil {
		t.Fatal(err)
	}
	l := newLink(im, "eu")
	for i, want := range []time.Duration{3, 6, 12, 24, 24} {
		if got := l.patience(); got != want*time.Second {
			t.Fatalf("after %d stalls: %s, want %ds", i, got, want)
		}
		l.failed(upstream{}, errStalled)
	}
}

func TestLagCountsWhatIsAnnouncedAndNotHeld(t *testing.T) {
	v := func(epoch, seq uint64) catalog.Version { return catalog.Version{Epoch: epoch, Seq: seq} }
	for _, c := range []struct {
		held, announced catalog.Version
		want            uint64
	}{{v(1, 5), v(1, 5), 0}, {v(1, 5), v(1, 9), 4}, {v(1, 5), v(2, 3), 3}, {v(2, 1), v(1, 9), 0}} {
		if got := (LinkStatus{Version: c.held, Announced: c.announced}).Lag(); got != c.want {
			t.Errorf("held %s, announced %s: lag %d, want %d", c.held, c.announced, got, c.want)
		}
	}
}
