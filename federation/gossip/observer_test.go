package gossip

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/federator/federator/federation/gossip/verdict"
)

// fabric joins observers in simulated time, every packet over the wire format.
type fabric struct {
	rng       *rand.Rand
	loss      float64
	observers map[NodeName]*observer
	down      map[NodeName]bool
	clocks    map[NodeName]time.Duration // how far each clock is ahead
	now       time.Duration
	flight    []packet // in order of arrival, because all take as long
	verdicts  []string
	// stream is when the observed region's stream last brought bytes to the observer.
	stream func(observer NodeName, region string) time.Duration
}

type packet struct {
	at       time.Duration
	from, to NodeName
	plain    []byte
}

const oneWay = 40 * time.Millisecond

func newFabric(seed uint64, regions []string, replicas int) *fabric {
	f := &fabric{
		rng:       rand.New(rand.NewPCG(seed, 1)),
		observers: map[NodeName]*observer{}, down: map[NodeName]bool{}, clocks: map[NodeName]time.Duration{},
		stream: func(NodeName, string) time.Duration { return verdict.Never },
	}
	var targets []target
	for _, r := range regions {
		for i := range replicas {
			targets = append(targets, target{NodeName: NodeName{r, fmt.Sprintf("r%d", i)}})
		}
	}
	for _, t := range targets {
		o := newObserver(t.NodeName, verdict.Standard(), f.rng.Uint64)
		o.direct(0, targets)
		f.observers[t.NodeName] = o
	}
	return f
}

func (f *fabric) clock(n NodeName) int64 {
	return int64(1e18) + int64(f.now+f.clocks[n])
}

func (f *fabric) send(from, to NodeName, plain []byte) {
	if f.rng.Float64() >= f.loss {
		f.flight = append(f.flight, packet{f.now + oneWay, from, to, plain})
	}
}

// run lets time pass in ticks.
func (f *fabric) run(t *testing.T, d time.Duration) {
	t.Helper()
	for end := f.now + d; f.now < end; f.now += tickPeriod {
		for len(f.flight) > 0 && f.flight[0].at <= f.now {
			f.deliver(t, f.flight[0])
			f.flight = f.flight[1:]
		}
		for _, n := range f.names() {
			f.tick(n)
		}
	}
}

func (f *fabric) names() []NodeName {
	var names []NodeName
	for n := range f.observers {
		if !f.down[n] {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b NodeName) int { return compareNames(a, b) })
	return names
}

func (f *fabric) tick(n NodeName) {
	o := f.observers[n]
	due, _ := o.due(f.now, f.clock(n))
	for _, d := range due {
		f.send(n, d.to.NodeName, encodeRequest(d.request))
	}
	if reach, changed := o.judge(f.now, func(region string) (time.Duration, bool) { return f.stream(n, region), true }); changed {
		for r, silent := range reach.Silent {
			if silent {
				f.verdicts = append(f.verdicts, fmt.Sprintf("%s finds %s silent", n, r))
			}
		}
	}
}

func (f *fabric) deliver(t *testing.T, p packet) {
	t.Helper()
	if f.down[p.to] {
		return
	}
	o := f.observers[p.to]
	if q, err := decodeRequest(p.plain); err == nil {
		f.send(p.to, p.from, encodeReply(o.request(f.now, f.clock(p.to), q), len(p.plain)))
		return
	}
	r, err := decodeReply(p.plain)
	if err != nil {
		t.Fatalf("neither request nor reply: %x", p.plain)
	}
	o.reply(f.now, f.clock(p.to), r)
}

func compareNames(a, b NodeName) int {
	return slices.Compare([]string{a.Region, a.Name}, []string{b.Region, b.Name})
}

func TestObserversAtTwentyPercentLossSeeOnlyRealLosses(t *testing.T) {
	const seed = 42
	f := newFabric(seed, []string{"asia", "eu", "us"}, 3)
	f.loss = 0.2
	length := 10 * time.Minute
	if testing.Short() {
		length = 2 * time.Minute
	}
	f.run(t, length)
	// Two of three replicas down is no silence of the region, and neither is one
	// replica left to observe.
	f.down[NodeName{"eu", "r0"}], f.down[NodeName{"eu", "r2"}] = true, true
	f.run(t, length/2)
	if len(f.verdicts) != 0 {
		t.Fatalf("seed %d: false verdicts: %v", seed, f.verdicts)
	}
	f.down[NodeName{"eu", "r1"}] = true
	f.run(t, 3*time.Second)
	if len(f.verdicts) != 6 {
		t.Fatalf("seed %d: three seconds after eu was lost: %v; want the word of six replicas", seed, f.verdicts)
	}
	for _, n := range f.names() {
		if r := f.observers[n].verdicts(); !r.Silent["eu"] || len(r.Silent) != 2 || r.Isolated {
			t.Errorf("%s: %+v", n, r)
		}
	}
	f.down = map[NodeName]bool{}
	f.run(t, 10*time.Second)
	for _, n := range f.names() {
		if r := f.observers[n].verdicts(); r.Silent["eu"] {
			t.Errorf("%s: eu is not back ten seconds after it returned", n)
		}
	}
}

func TestAStoppedObserverFindsNobodySilentWhenItGoesOn(t *testing.T) {
	f := newFabric(3, []string{"asia", "eu", "us"}, 2)
	f.loss = 0.2
	for _, n := range f.names() {
		f.run(t, 10*time.Second)
		f.down[n] = true
		f.run(t, 4*time.Second)
		f.down[n] = false
		f.run(t, 5*time.Second)
	}
	if len(f.verdicts) != 0 {
		t.Errorf("false verdicts: %v", f.verdicts)
	}
}

func TestEvidenceOfAStreamCountsUntilItIsTakenBack(t *testing.T) {
	f := newFabric(1, []string{"a", "b", "c"}, 1)
	f.run(t, 3*time.Second)
	f.down[NodeName{"b", "r0"}] = true
	f.stream = func(n NodeName, region string) time.Duration {
		if n.Region == "a" && region == "b" {
			return f.now
		}
		return verdict.Never
	}
	f.run(t, 4*time.Second)
	if len(f.verdicts) != 1 || f.verdicts[0] != "c/r0 finds b silent" {
		t.Fatalf("while its stream brings bytes to a, only c should find b silent, found %v", f.verdicts)
	}
	f.stream = func(NodeName, string) time.Duration { return verdict.Never }
	f.run(t, tickPeriod)
	if len(f.verdicts) != 2 || f.verdicts[1] != "a/r0 finds b silent" {
		t.Errorf("when that no longer counts, a should at once find b silent, found %v", f.verdicts)
	}
}

func TestTheEchoesOfARegionAreSharedByThoseThatLive(t *testing.T) {
	f := newFabric(4, []string{"eu", "us"}, 3)
	us, eu := NodeName{"us", "r0"}, "eu"
	rate := func() float64 {
		const seconds = 3
		f.run(t, 6*time.Second)
		sent, _ := f.observers[us].regions[eu].window.Sum(f.now, seconds*time.Second)
		return float64(sent) / seconds
	}
	if got := rate(); got < 4 || got > 6 {
		t.Errorf("one of three sends %.1f a second, want 5", got)
	}
	f.down[NodeName{"us", "r1"}], f.down[NodeName{"us", "r2"}] = true, true
	if got := rate(); got < 14 || got > 16 {
		t.Errorf("alone it sends %.1f a second, want 15", got)
	}
	if f.observers[us].alive("r1", f.now) {
		t.Error("a dead sibling counts as alive")
	}
}

func TestSkewAndRoundTripTimeAreMeasured(t *testing.T) {
	f := newFabric(5, []string{"eu", "us"}, 1)
	us, eu := NodeName{"us", "r0"}, NodeName{"eu", "r0"}
	f.clocks[eu] = time.Hour
	f.run(t, 5*time.Second)
	m := f.observers[us].members(f.now)[0]
	if (m.Skew - time.Hour).Abs() > 50*time.Millisecond {
		t.Errorf("skew is %v, want an hour", m.Skew)
	}
	if m.RTT < 2*oneWay || m.RTT > 2*oneWay+3*tickPeriod || m.State != MemberAlive {
		t.Errorf("member is %+v", m)
	}
	changes := f.observers[us].rtts(f.now)
	if len(changes) != 1 || len(f.observers[us].rtts(f.now)) != 0 {
		t.Errorf("published %v, want one change, once", changes)
	}
}

func TestAnAnswerCountsOnceAndOnlyFromWhomItWasAsked(t *testing.T) {
	p := newPeer(target{NodeName: someNode})
	q, _ := p.send(time.Second, 100, 7)
	good := echoReply{Seq: q.Seq, Nonce: 7, Sent: 100, Received: 150, Answered: 160}
	forged := good
	forged.Nonce = 8
	if _, ok := p.answer(2*time.Second, 200, forged); ok {
		t.Error("a forged answer counts")
	}
	if rtt, ok := p.answer(11*time.Second, 200, good); !ok || rtt != 10*time.Second || p.evidence != 11*time.Second {
		t.Errorf("a late answer: %v, %v", rtt, ok)
	}
	if p.rtt != 0 {
		t.Error("a late answer changed the round-trip time")
	}
	if _, ok := p.answer(12*time.Second, 200, good); ok {
		t.Error("a replayed answer counts")
	}
}

func TestAnOldRequestDoesNotMakeASiblingLookAlive(t *testing.T) {
	o := newObserver(NodeName{"eu", "r0"}, verdict.Standard(), func() uint64 { return 1 })
	o.direct(0, []target{{NodeName: NodeName{"eu", "r1"}}})
	q := echoRequest{From: NodeName{"eu", "r1"}, Sent: 5}
	o.request(time.Second, 0, q)
	if !o.alive("r1", time.Second) {
		t.Error("a request is no evidence")
	}
	o.request(time.Minute, 0, q)
	if o.alive("r1", time.Minute) {
		t.Error("a replayed request is evidence")
	}
}

func TestARegionThatLeavesTheDirectoryIsForgotten(t *testing.T) {
	o := newObserver(NodeName{"us", "r0"}, verdict.Standard(), func() uint64 { return 1 })
	o.direct(0, []target{{NodeName: NodeName{"eu", "r0"}}, {NodeName: NodeName{"us", "r1"}}})
	o.direct(0, nil)
	if reach, _ := o.judge(time.Second, func(string) (time.Duration, bool) { return 0, true }); len(reach.Silent) != 0 || reach.Isolated {
		t.Errorf("reach is %+v", reach)
	}
}
