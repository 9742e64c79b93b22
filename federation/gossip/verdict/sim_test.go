package verdict_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/federator/federator/federation/gossip/verdict"
)

// The simulated federation: region A with three replicas observes B and C, of
// three replicas each. Every replica of A sends each of them five echoes a
// second, rotated over their replicas, and asks its siblings five times a second
// what they saw. Every packet, those between siblings too, is lost with 20 %.
// The verdict is that of A's first replica.
const (
	replicas = 3
	observed = 2
	period   = 200 * time.Millisecond
	rtt      = 120 * time.Millisecond
)

// losses decides whether a round trip over a path succeeds. There is a path per
// pair of replicas.
type losses interface {
	arrives(path int, at time.Duration) bool
}

// independent loses every packet on its own.
type independent struct {
	rng *rand.Rand
	rtt float64 // share of round trips that succeed
}

func (l *independent) arrives(int, time.Duration) bool { return l.rng.Float64() < l.rtt }

// bursts is the Gilbert-Elliott model in continuous time: each direction of each
// path changes between a good state that loses nothing and a bad one that loses
// everything.
type bursts struct {
	rng       *rand.Rand
	good, bad time.Duration // mean length of a stay
	chains    [][2]chain
}

type chain struct {
	bad   bool
	until time.Duration
}

func newBursts(rng *rand.Rand, loss float64, meanBurst time.Duration, paths int) *bursts {
	return &bursts{
		rng:    rng,
		bad:    meanBurst,
		good:   time.Duration(float64(meanBurst) * (1 - loss) / loss),
		chains: make([][2]chain, paths),
	}
}

func (l *bursts) arrives(path int, at time.Duration) bool {
	c := &l.chains[path%len(l.chains)]
	return l.passes(&c[0], at) && l.passes(&c[1], at+rtt/2)
}

func (l *bursts) passes(c *chain, at time.Duration) bool {
	for c.until <= at {
		c.bad = !c.bad
		mean := l.good
		if c.bad {
			mean = l.bad
		}
		c.until += time.Duration(l.rng.ExpFloat64() * float64(mean))
	}
	return !c.bad
}

// eye is what one replica of A has seen of one region.
type eye struct {
	window   verdict.Window
	evidence time.Duration
	arriving []time.Duration // when the answers under way arrive, in order
	target   int
}

func (e *eye) deliver(now time.Duration) {
	for len(e.arriving) > 0 && e.arriving[0] <= now {
		e.window.Answer(e.arriving[0])
		e.evidence = e.arriving[0]
		e.arriving = append(e.arriving[:0], e.arriving[1:]...)
	}
}

// hearsay is what a sibling said of one region, and when.
type hearsay struct {
	at, evidence time.Duration
	window       verdict.Window // as it was then
}

type outage struct {
	region     int
	start, end time.Duration
}

type simulation struct {
	rules   verdict.Rules
	loss    losses
	eyes    [replicas][observed]eye
	said    [replicas][observed]hearsay // by the siblings of replica 0
	credit  float64                     // echoes that replica 0 sends for dead siblings
	paused  time.Duration
	states  []verdict.State
	outages []outage // in order, not overlapping
	pauses  []outage // of replica 0
	over    int      // outages that are
	echoes  int
}

type result struct {
	falseVerdicts, isolations int
	losses, neverSaw          int
	slowest, slowestBack      time.Duration
}

func newSimulation(loss losses) *simulation {
	return &simulation{rules: verdict.Standard(), loss: loss, states: make([]verdict.State, observed)}
}

// run simulates until end.
func (s *simulation) run(end time.Duration) result {
	var res result
	var seen, back bool // of the outage at hand
	next := 0
	for now := period; now < end; now += period {
		if p, ok := s.pausedAt(now); ok {
			now = p.end.Truncate(period) + period
			s.paused = p.end
			s.lateAnswers(now)
		}
		s.exchange(now)
		for _, at := range []time.Duration{now + period/2, now + period} {
			var isolated bool
			if s.suspicious(at) {
				s.states, isolated = s.rules.Judge(verdict.Observer{Now: at, Paused: s.paused, Sibling: s.heard()}, s.links(at), s.states)
			}
			if isolated {
				res.isolations++
			}
			var o *outage
			if next < len(s.outages) {
				o = &s.outages[next]
			}
			for r, st := range s.states {
				inOutage := o != nil && o.region == r && at >= o.start
				if st.Silent && !inOutage {
					res.falseVerdicts++
				}
			}
			if o == nil || at < o.start {
				continue
			}
			if s.states[o.region].Silent && !seen {
				seen = true
				res.losses++
				res.slowest = max(res.slowest, at-o.start)
			}
			if seen && !back && at > o.end && !s.states[o.region].Silent {
				back = true
				res.slowestBack = max(res.slowestBack, at-o.end)
			}
			if at > o.end+30*time.Second {
				if !seen {
					res.neverSaw++
				}
				next, seen, back = next+1, false, false
			}
		}
	}
	return res
}

func (s *simulation) pausedAt(now time.Duration) (outage, bool) {
	if len(s.pauses) == 0 || now < s.pauses[0].start {
		return outage{}, false
	}
	p := s.pauses[0]
	s.pauses = s.pauses[1:]
	return p, true
}

// lateAnswers: what arrived during a pause lay in the socket's buffer. The
// siblings went on without us.
func (s *simulation) lateAnswers(now time.Duration) {
	for r := range s.eyes[0] {
		for k := range s.eyes[0][r].arriving {
			s.eyes[0][r].arriving[k] = now
		}
	}
	for i := 1; i < replicas; i++ {
		for r := range s.eyes[i] {
			s.eyes[i][r].deliver(now)
			s.eyes[i][r].evidence = now - period
		}
	}
}

// exchange sends the echoes of one period.
func (s *simulation) exchange(now time.Duration) {
	own := s.share(now)
	for i := range s.eyes {
		n := 1
		if i == 0 {
			n = own
		}
		for k := range n {
			for r := range s.eyes[i] {
				s.echo(i, r, now+time.Duration(i)*33*time.Millisecond+time.Duration(k)*60*time.Millisecond)
			}
		}
		if i > 0 && s.loss.arrives(replicas*observed*replicas+i, now) {
			s.listen(i, now)
		}
	}
}

// share is how many echoes replica 0 sends in this period: the region's fifteen
// a second, divided by the replicas that it believes alive.
func (s *simulation) share(now time.Duration) int {
	living := 1
	for i := 1; i < replicas; i++ {
		if now-s.said[i][0].at < 1200*time.Millisecond {
			living++
		}
	}
	s.credit += float64(replicas) / float64(living)
	n := int(s.credit)
	s.credit -= float64(n)
	return n
}

func (s *simulation) echo(i, r int, at time.Duration) {
	e := &s.eyes[i][r]
	e.deliver(at)
	e.window.Send(at)
	s.echoes++
	e.target = (e.target + 1) % replicas
	if !s.down(r, at) && s.loss.arrives((i*observed+r)*replicas+e.target, at) {
		e.arriving = append(e.arriving, at+rtt)
	}
}

// listen: sibling i says what it saw itself.
func (s *simulation) listen(i int, now time.Duration) {
	for r := range s.eyes[i] {
		e := &s.eyes[i][r]
		e.deliver(now)
		s.said[i][r] = hearsay{at: now, evidence: e.evidence, window: e.window}
	}
}

func (s *simulation) heard() time.Duration {
	last := verdict.Never
	for i := 1; i < replicas; i++ {
		last = max(last, s.said[i][0].at)
	}
	return last
}

func (s *simulation) down(region int, at time.Duration) bool {
	for s.over < len(s.outages) && at >= s.outages[s.over].end+time.Second {
		s.over++
	}
	if s.over == len(s.outages) {
		return false
	}
	o := s.outages[s.over]
	return o.region == region && o.start <= at && at < o.end
}

// suspicious spares the judgement when no region can change its state: one that
// is not silent stays so while it has evidence.
func (s *simulation) suspicious(now time.Duration) bool {
	for r := range s.states {
		last := verdict.Never
		s.eyes[0][r].deliver(now)
		last = max(last, s.eyes[0][r].evidence)
		for i := 1; i < replicas; i++ {
			last = max(last, s.said[i][r].evidence)
		}
		if s.states[r].Silent || now-last >= s.rules.Silence {
			return true
		}
	}
	return false
}

func (s *simulation) links(now time.Duration) []verdict.Link {
	links := make([]verdict.Link, observed)
	for r := range links {
		e := &s.eyes[0][r]
		l := verdict.Link{Evidence: e.evidence, Synced: true}
		for i := 1; i < replicas; i++ {
			l.Evidence = max(l.Evidence, s.said[i][r].evidence)
		}
		l.BackSent, l.BackAnswered = e.window.Sum(now, s.rules.Back)
		l.Sent = s.rules.SentSince(&e.window, now, l.Evidence)
		for i := 1; i < replicas; i++ {
			h := &s.said[i][r]
			if now-h.at < time.Second {
				sent, answered := h.window.Sum(h.at, s.rules.Back)
				l.Sent += s.rules.ShareSince(sent, now, l.Evidence)
				l.BackSent += sent
				l.BackAnswered += answered
			}
		}
		links[r] = l
	}
	return links
}

// length is how long to simulate: 30 days, or six hours under the race detector
// or -short.
func length() time.Duration {
	if raceEnabled || testing.Short() {
		return 6 * time.Hour
	}
	return 30 * 24 * time.Hour
}

// everyTwoHours makes real losses of B at random moments, each of 20 s.
func everyTwoHours(rng *rand.Rand, end time.Duration) []outage {
	var list []outage
	for at := time.Hour; at+time.Minute < end; at += time.Hour + time.Duration(rng.Int64N(int64(2*time.Hour))) {
		list = append(list, outage{start: at, end: at + 20*time.Second})
	}
	return list
}

func TestThirtyDaysOfLossGiveNoFalseVerdictAndEveryRealLossIsSeen(t *testing.T) {
	const seed = 20261122
	models := []struct {
		name string
		loss func(*rand.Rand) losses
	}{
		{"each packet lost alone with 20 %", func(rng *rand.Rand) losses {
			return &independent{rng: rng, rtt: 0.8 * 0.8}
		}},
		{"bursts of 300 ms on each path, 20 % on average", func(rng *rand.Rand) losses {
			return newBursts(rng, 0.2, 300*time.Millisecond, replicas*observed*replicas+replicas)
		}},
	}
	for _, m := range models {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			end := length()
			s := newSimulation(m.loss(rng))
			s.outages = everyTwoHours(rng, end)
			want := len(s.outages)
			res := s.run(end)
			t.Logf("seed %d: %v, %d echoes, %d real losses, slowest seen after %v, slowest back after %v",
				seed, end, s.echoes, want, res.slowest, res.slowestBack)
			if res.falseVerdicts != 0 || res.isolations != 0 {
				t.Errorf("%d false verdicts, %d false isolations, want none", res.falseVerdicts, res.isolations)
			}
			if res.losses != want || res.slowest > 3*time.Second {
				t.Errorf("saw %d of %d losses, the slowest after %v; want all within 3s", res.losses, want, res.slowest)
			}
		})
	}
}

func TestObserverPausesCauseNoVerdict(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 2))
	end := length() / 24
	s := newSimulation(&independent{rng: rng, rtt: 0.8 * 0.8})
	for at := 10 * time.Second; at+time.Minute < end; at += 20*time.Second + time.Duration(rng.Int64N(int64(20*time.Second))) {
		length := 260*time.Millisecond + time.Duration(rng.Int64N(int64(12*time.Second)))
		s.pauses = append(s.pauses, outage{start: at, end: at + length})
	}
	n := len(s.pauses)
	res := s.run(end)
	t.Logf("seed %d: %d pauses of up to 12 s", seed, n)
	if res.falseVerdicts != 0 || res.isolations != 0 {
		t.Errorf("%d false verdicts and %d isolations after %d pauses, want none", res.falseVerdicts, res.isolations, n)
	}
}
