package replication

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// link keeps one region imported. Its goroutine opens a session with the best
// upstream, follows it until it breaks, and begins anew; while a sibling relays,
// a second goroutine looks for a replica of the region itself.
type link struct {
	im     *Importer
	region string
	log    *slog.Logger
	wake   chan struct{}
	stop   context.CancelCauseFunc

	mu       sync.Mutex
	ledger   *ledger
	filling  bool // the first session since the start is with a sibling, if one can fill
	full     bool // a gap was seen: ask for a snapshot
	stalls   int  // sessions that stalled since the link was last caught up
	current  *session
	caughtUp bool
	heard    time.Time       // see LinkStatus.LastEvent
	unheard  bool            // the region's last word was that it does not hear us
	target   catalog.Version // see LinkStatus.Announced
	err      error
	removed  uint64
}

func newLink(im *Importer, region string) *link {
	return &link{
		im:      im,
		region:  region,
		log:     im.cfg.Logger.With("region", region),
		wake:    make(chan struct{}, 1),
		ledger:  newLedger(im.cfg.RetryBase, im.cfg.RetryLimit),
		filling: true,
		err:     errors.New("no replica has answered yet"),
	}
}

// nudge tells the link that the directory changed.
func (l *link) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *link) run(ctx context.Context) {
	var s *session
	for ctx.Err() == nil {
		if s == nil {
			s = l.connect(ctx, ctx, l.preference)
			continue
		}
		s = l.follow(ctx, s)
	}
	if s != nil {
		s.close()
	}
}

// preference says who to ask first: siblings while they may fill what is
// missing at the start, the region's own replicas ever after.
func (l *link) preference(candidates []upstream) preference {
	l.filling = l.filling && l.ledger.untried(candidates)
	if l.filling {
		return siblingsFirst
	}
	return directFirst
}

// connect tries upstreams until one answers; nil means that ctx ended first.
func (l *link) connect(ctx, life context.Context, prefer func([]upstream) preference) *session {
	for ctx.Err() == nil {
		up, full, wait, ok := l.choose(prefer)
		if !ok {
			l.sleep(ctx, wait)
			continue
		}
		s, err := l.open(ctx, life, up, full)
		if err == nil {
			return s
		}
		if ctx.Err() == nil {
			l.failed(up, err)
		}
	}
	return nil
}

func (l *link) choose(prefer func([]upstream) preference) (up upstream, full bool, wait time.Duration, ok bool) {
	candidates, now := l.im.candidates(l.region), l.im.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	up, wait, ok = l.ledger.pick(now, candidates, prefer(candidates), l.im.cfg.Random)
	if ok {
		l.ledger.tried(up, now)
	}
	return up, l.full, wait, ok
}

// sleep waits until an upstream may be tried again or the directory changes.
func (l *link) sleep(ctx context.Context, wait time.Duration) {
	if wait <= 0 {
		wait = l.im.cfg.RetryLimit
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-l.wake:
	case <-timer.C:
	}
}

// follow takes over what a session brings until it ends. While a sibling relays,
// it looks for a better upstream, and returns the session with that.
func (l *link) follow(ctx context.Context, s *session) *session {
	l.begin(s)
	next := make(chan *session, 1)
	seeking, stop := context.WithCancel(ctx)
	if s.up.relays {
		go func() { next <- l.seek(seeking, ctx, s) }()
	} else {
		next <- nil
	}
	err := l.drain(s)
	s.close()
	stop()
	better := <-next
	if better == nil && ctx.Err() == nil {
		l.failed(s.up, err)
	}
	l.end(better != nil)
	return better
}

// seek finds a replica of the region to take over from a relay, which first may
// finish to fill what was missing, and then ends the relay's session.
func (l *link) seek(ctx, life context.Context, relay *session) *session {
	select {
	case <-ctx.Done():
		return nil
	case <-relay.filled:
	}
	s := l.connect(ctx, life, func([]upstream) preference { return directOnly })
	if s != nil {
		relay.cancel(errBetter)
	}
	return s
}

// drain takes events until the session breaks.
func (l *link) drain(s *session) error {
	for {
		ev, err := s.recv()
		if err != nil {
			return err
		}
		e, err := s.core.take(ev)
		if err == nil {
			err = l.apply(s, e)
		}
		if err != nil {
			return err
		}
		if s.up.relays && s.core.age > 2*l.im.cfg.Stall && l.otherRelay() {
			return errors.New("the sibling has lost the region too")
		}
		l.note(s, ev)
	}
}

// otherRelay reports whether there is more than one sibling to ask.
func (l *link) otherRelay() bool {
	n := 0
	for _, c := range l.im.candidates(l.region) {
		if c.relays {
			n++
		}
	}
	return n > 1
}

// apply does to the sink what an event asked for.
func (l *link) apply(s *session, e effect) error {
	sink, m := l.im.cfg.Sink, l.im.metrics
	switch {
	case e.reset != nil:
		if err := sink.Reset(*e.reset); err != nil {
			return err
		}
		m.snapshots.WithLabelValues(l.region).Inc()
		l.log.Info("snapshot taken over", "peer", s.up.Name, "version", e.reset.Version.String(), "records", len(e.reset.Records))
	case e.delta != nil:
		if err := sink.Apply(*e.delta); err != nil {
			return err
		}
		m.deltas.WithLabelValues(l.region).Inc()
	default:
		return nil
	}
	s.core.held, s.core.partial = sink.Version(l.region), sink.Partial(l.region)
	return nil
}

// begin makes a session the current one. Another may have brought news since it
// was opened.
func (l *link) begin(s *session) {
	s.core.held, s.core.partial = l.im.cfg.Sink.Version(l.region), l.im.cfg.Sink.Partial(l.region)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current, l.target, l.removed = s, s.core.target, 0
	l.caughtUp = l.caughtUp && s.core.caughtUp()
	if !s.up.relays {
		l.heard, l.unheard = l.im.cfg.Now(), false
	}
}

// note records that an event came and was applied.
func (l *link) note(s *session, ev *pb.WatchEvent) {
	now := l.im.cfg.Now()
	l.im.metrics.bytes.WithLabelValues(l.region).Add(float64(proto.Size(ev)))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target = s.core.target
	if heard := now.Add(-s.core.age); (!s.up.relays || ev.GetHeartbeat() != nil && s.core.age < never) && heard.After(l.heard) {
		l.heard = heard
	}
	// The server says what it holds after it sent what it had, so the first
	// heartbeat is when a session has shown its worth.
	if ev.GetHeartbeat() == nil || !s.core.caughtUp() {
		return
	}
	if !l.caughtUp {
		l.log.Info("link synced", "peer", s.up.Name, "direct", !s.up.relays, "version", s.core.held.String())
	}
	l.caughtUp, l.filling, l.full, l.stalls, l.err = true, false, false, 0, nil
	l.ledger.worked(s.up)
	s.fill()
}

// end makes the link one without a session.
func (l *link) end(promoted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = nil
	l.caughtUp = l.caughtUp && promoted
}

// failed records that an upstream could not be had, or was lost.
func (l *link) failed(up upstream, err error) {
	random, now := l.im.cfg.Random(), l.im.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ledger.failed(up, now, random)
	if errors.Is(err, catalog.ErrGap) {
		l.full = true
		l.im.metrics.resyncs.WithLabelValues(l.region).Inc()
	}
	if errors.Is(err, errStalled) {
		l.stalls++
	}
	l.unheard = l.unheard || errors.Is(err, errUnheard)
	var removed *RemovedError
	if errors.As(err, &removed) {
		l.removed = removed.Epoch
	}
	level := slog.LevelDebug
	if l.err == nil || l.err.Error() != err.Error() {
		level = slog.LevelWarn
	}
	l.log.Log(context.Background(), level, "link broken", "peer", up.Name, "direct", !up.relays, "error", err)
	l.err = err
}

// patience is how long the next session may be silent. It grows while sessions
// stall before they have caught up: on a slow line a message takes its time.
func (l *link) patience() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.im.cfg.Stall << min(l.stalls, 3)
}

// evidence is when the region was last heard from, zero if never or if what was
// heard says nothing of the way there.
func (l *link) evidence() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unheard {
		return time.Time{}
	}
	return l.heard
}

func (l *link) status() LinkStatus {
	version, now := l.im.cfg.Sink.Version(l.region), l.im.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	st := LinkStatus{
		Region:       l.region,
		Version:      version,
		Announced:    l.target,
		LastEvent:    l.heard,
		RemovedEpoch: l.removed,
	}
	if l.current != nil {
		st.Upstream, st.Direct = l.current.up.Name, !l.current.up.relays
	}
	st.Synced = l.caughtUp && version.Compare(l.target) >= 0 && now.Sub(l.heard) <= l.im.cfg.Stall
	if !st.Synced {
		st.Error = l.why()
	}
	return st
}

// why says what keeps the link from being synced.
func (l *link) why() string {
	switch {
	case l.err != nil:
		return l.err.Error()
	case l.caughtUp:
		return "the region was not heard from for too long, or changes have yet to arrive"
	}
	return "catching up"
}
