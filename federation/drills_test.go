package federation

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/enroll"
)

// practice is a federation of three regions that serve shop/checkout each. The
// endpoint of eu-central is checked, and dies with workload.
type practice struct {
	west, eu, asia *agent
	workload       net.Listener
}

// checkedServices is a services file whose endpoint the listener answers for.
func checkedServices(t *testing.T, l net.Listener) string {
	t.Helper()
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "services.yaml")
	doc := fmt.Sprintf("services:\n  - name: shop/checkout\n    ports: [{name: http, port: 80, protocol: TCP}]\n"+
		"    check: {tcp: {port: http}, interval: 200ms}\n    endpoints: [{address: %s, zone: a, ports: {http: %s}}]\n", host, port)
	if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newPractice(t *testing.T) practice {
	t.Helper()
	p := practice{west: initialise(t, "us-west", "a", writeServices(t, "127.0.0.11"))}
	var err error
	if p.workload, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.workload.Close() })
	p.eu = p.west.admit(t, "eu-central", "a", checkedServices(t, p.workload))
	p.asia = p.west.admit(t, "asia-east", "a", writeServices(t, "127.0.0.31"))
	for _, a := range p.all() {
		eventually(t, patience, a.card.Replica.Region+" knows all three, and their releases", func() bool {
			w := a.drillWorld(time.Now())
			reach := a.catalog.Conditions().Reach
			ok := len(backends(a, "shop/checkout")) == 3 && len(w.members) == 3 && !w.older["us-west"] && !w.older["eu-central"] && !w.older["asia-east"]
			for _, region := range w.members {
				ok = ok && reach[region] == catalog.Reachable && len(a.replicasOf(region)) > 0
			}
			return ok
		})
	}
	return p
}

func (p practice) all() []*agent { return []*agent{p.west, p.eu, p.asia} }

func drillFor(a *agent, id, scope string, hold time.Duration) catalog.Drill {
	return catalog.Drill{
		ID: id, Kind: catalog.DrillEvacuate, Scope: catalog.Scope{Region: scope}, Region: a.card.Replica.Region,
		Shape: catalog.Shape{Hold: catalog.Duration(hold)}, Actor: "tester",
	}
}

func (a *agent) startDrill(t *testing.T, d catalog.Drill) {
	t.Helper()
	if _, err := a.proposer.Propose(t.Context(), a.systemMeta(), &state.StartDrill{Drill: d}); err != nil {
		t.Fatal(err)
	}
}

func (a *agent) view(id string) *catalog.DrillView {
	v, _ := a.catalog.Drill(id)
	return &v
}

// untilStopped is the hold of a drill that something ends long before.
const untilStopped = 10 * time.Minute

// everywhere waits until every region sees the drill as ok demands.
func (p practice) everywhere(t *testing.T, within time.Duration, id, what string, ok func(*agent, *catalog.DrillView) bool) {
	t.Helper()
	for _, a := range p.all() {
		eventually(t, within, a.card.Replica.Region+": "+what, func() bool { return ok(a, a.view(id)) })
	}
}

// meanwhile waits until the agents see a drill as ok demands. It reports whether that
// was before its end.
func meanwhile(t *testing.T, id string, agents []*agent, ok func(*agent, *catalog.DrillView) bool) (all bool) {
	t.Helper()
	for _, a := range agents {
		eventually(t, longest, a.card.Replica.Region+": the end of drill "+id, func() bool {
			over := a.view(id).State == catalog.DrillEnded
			all = ok(a, a.view(id)) // after that look
			return all || over
		})
		if !all {
			return false
		}
	}
	return true
}

// longest is the time in which any drill ends that is not stopped, and three replicas
// vote: whenever the leader changes meanwhile, that begins anew.
const longest = 3 * time.Minute

// settled waits until a drill has ended everywhere and no region is bound by it.
func (p practice) settled(t *testing.T, id string) {
	t.Helper()
	p.everywhere(t, longest, id, "it has ended, and every vote is free", func(a *agent, v *catalog.DrillView) bool {
		free := true
		for _, b := range v.Ballots {
			free = free && (b.Released || !b.Granted)
		}
		return free && v.Recorded == catalog.DrillEnded && len(a.catalog.Conditions().Drills) == 0
	})
}

// held is a drill that takes all of its traffic away.
func held(a *agent, v *catalog.DrillView) bool {
	drills := a.catalog.Conditions().Drills
	return v.Phase == catalog.PhaseHold && len(drills) == 1 && drills[0].ID == v.ID && drills[0].Share == 1_000_000
}

func ended(outcome catalog.DrillOutcome) func(*agent, *catalog.DrillView) bool {
	return func(a *agent, v *catalog.DrillView) bool {
		return v.Recorded == catalog.DrillEnded && v.Outcome == outcome && len(a.catalog.Conditions().Drills) == 0
	}
}

func TestThreeRegionsVoteOnADrillRunItAndEndIt(t *testing.T) {
	t.Parallel()
	p := newPractice(t)
	inTime(t, "first", 5*time.Second, p.whole)
	t.Run("another may follow, and any region stops it", func(t *testing.T) {
		p.eu.startDrill(t, drillFor(p.eu, "second", "us-west", untilStopped))
		p.everywhere(t, patience, "second", "it runs, and has every vote", func(a *agent, v *catalog.DrillView) bool {
			b := v.Ballot("asia-east")
			return held(a, v) && b != nil && b.Granted
		})
		err := p.asia.proposeDrill(t.Context(), &state.StartDrill{Drill: drillFor(p.asia, "third", "eu-central", untilStopped)})
		if !errors.Is(err, state.ErrConflict) || !strings.Contains(err.Error(), "second") {
			t.Fatalf("expected a refusal that names the other drill, found %v", err)
		}
		if err := p.asia.proposeDrill(t.Context(), &state.MarkBallot{Drill: "second", End: &catalog.DrillEnd{
			Outcome: catalog.OutcomeStopped, Reason: "enough", Actor: "tester", At: time.Now(),
		}}); err != nil {
			t.Fatal(err)
		}
		p.everywhere(t, patience, "second", "it is stopped", ended(catalog.OutcomeStopped))
	})
	t.Run("it is extended", func(t *testing.T) { inTime(t, "longer", 4*time.Second, p.extend) })
	t.Run("a real failure ends it everywhere", func(t *testing.T) { p.abortOnFailure(t) })
	t.Run("without a majority it is refused, and says why", func(t *testing.T) { p.refuse(t) })
}

// whole is a drill from its start to its end.
func (p practice) whole(t *testing.T, id string, hold time.Duration) (why string) {
	begun := time.Now()
	d := drillFor(p.west, id, "us-west", hold)
	d.Shape.Ramp = catalog.Duration(time.Second)
	p.west.startDrill(t, d)
	seen := meanwhile(t, id, p.all(), held)
	t.Logf("held everywhere: %v, %s after the start, of which the ramp takes 1s", seen, time.Since(begun))
	p.settled(t, id)
	if v := p.asia.view(id); !seen || v.Outcome != catalog.OutcomeSucceeded {
		return fmt.Sprintf("its traffic was seen to have left everywhere: %v; it %s: %s", seen, v.Outcome, v.Detail)
	}
	p.everywhere(t, patience, id, "it has succeeded", ended(catalog.OutcomeSucceeded))
	for _, a := range p.all() {
		if !soon(patience, func() bool {
			v := a.view(id)
			ok := len(v.Ballots) == 3
			for _, b := range v.Ballots {
				ok = ok && b.Granted && b.Released && len(b.Acks) == 3
			}
			return ok
		}) {
			return fmt.Sprintf("not every region granted it, acknowledged every phase and released its vote: %+v", a.view(id).Ballots)
		}
	}
	return ""
}

// extend has a drill last for longer than it was to.
func (p practice) extend(t *testing.T, id string, hold time.Duration) (why string) {
	p.eu.startDrill(t, drillFor(p.eu, id, "us-west", hold))
	seen := meanwhile(t, id, p.all(), held)
	err := p.west.proposeDrill(t.Context(), &state.MarkBallot{Drill: id, Extend: catalog.Duration(3 * time.Second)})
	p.settled(t, id)
	v := p.asia.view(id)
	if took := v.Ended.Sub(v.Begun); !seen || err != nil || took < hold+2*time.Second || v.Outcome != catalog.OutcomeSucceeded {
		return fmt.Sprintf("seen to run everywhere: %v; extended by 3s: %v; it took %s and %s: %s", seen, err, took, v.Outcome, v.Detail)
	}
	return ""
}

// abortOnFailure lets the endpoints that are left fail during a drill.
func (p practice) abortOnFailure(t *testing.T) {
	policy := state.PutObject{ObjectKey: catalog.ObjectKey{Kind: catalog.KindPolicy, Name: catalog.DefaultPolicy},
		Spec: []byte(`{"safety":{"minEndpointsPercent":60}}`)}
	if err := p.west.proposeDrill(t.Context(), &policy); err != nil {
		t.Fatal(err)
	}
	p.west.startDrill(t, drillFor(p.west, "failing", "us-west", untilStopped))
	p.everywhere(t, 30*time.Second, "failing", "it runs", held)
	died := time.Now()
	_ = p.workload.Close()
	p.everywhere(t, 30*time.Second, "failing", "it is aborted", ended(catalog.OutcomeAborted))
	t.Logf("aborted everywhere %s after the endpoint died, which two checks 200ms apart have to find", time.Since(died))
	if v := p.asia.view("failing"); !strings.Contains(v.Detail, "shop/checkout") {
		t.Fatalf("the reason does not name the service: %q", v.Detail)
	}
}

// refuse starts a drill that the other regions find unsafe.
func (p practice) refuse(t *testing.T) {
	policy := state.PutObject{ObjectKey: catalog.ObjectKey{Kind: catalog.KindPolicy, Name: catalog.DefaultPolicy}, Spec: []byte(`{"safety":{"minRegions":3}}`)}
	if err := p.west.proposeDrill(t.Context(), &policy); err != nil {
		t.Fatal(err)
	}
	for _, a := range p.all() {
		eventually(t, patience, a.card.Replica.Region+" knows the policy", func() bool {
			safety := a.catalog.Conditions().Policies[catalog.DefaultPolicy].Safety
			return safety != nil && safety.MinRegions == 3
		})
	}
	p.west.startDrill(t, drillFor(p.west, "unsafe", "us-west", untilStopped))
	p.everywhere(t, 30*time.Second, "unsafe", "it is refused", ended(catalog.OutcomeRefused))
	for _, want := range []string{"1 of 3 regions granted it", "region eu-central refuses", "region asia-east refuses", "shop/checkout"} {
		if v := p.eu.view("unsafe"); !strings.Contains(v.Detail, want) {
			t.Errorf("expected %q in %q", want, v.Detail)
		}
	}
	eventually(t, patience, "us-west releases its vote", func() bool { b := p.west.view("unsafe").Ballot("us-west"); return b != nil && b.Released })
}

func TestADrillOutlivesItsCoordinatorAndARestart(t *testing.T) {
	t.Parallel()
	inTime(t, "long", 20*time.Second, func(t *testing.T, id string, hold time.Duration) (why string) {
		p := newPractice(t)
		defer func() {
			for _, a := range p.all() {
				_ = a.stop()
			}
		}()
		return p.outlive(t, id, hold)
	})
}

// outlive stops the coordinator of a drill for a while, and restarts another region.
func (p *practice) outlive(t *testing.T, id string, hold time.Duration) (why string) {
	p.west.startDrill(t, drillFor(p.west, id, "us-west", hold))
	if !meanwhile(t, id, p.all(), held) {
		return "it was not seen to run everywhere"
	}
	_ = p.west.stop()
	if !meanwhile(t, id, []*agent{p.eu}, func(_ *agent, v *catalog.DrillView) bool {
		b := v.Ballot("eu-central")
		return b != nil && b.Elapsed >= catalog.Duration(10*time.Second)
	}) {
		return "eu-central did not write down how far it was"
	}
	at, services := Place{DataDir: p.eu.cfg.DataDir}, p.eu.cfg.Services
	_ = p.eu.stop()
	p.eu = start(t, at, services)
	if v := p.eu.view(id); v.State != catalog.DrillRunning || v.Elapsed < 10*time.Second {
		why = fmt.Sprintf("the restarted replica did not go on counting: %s after %s", v.State, v.Elapsed)
		if v.State == catalog.DrillRunning {
			t.Error(why)
		}
		return why
	}
	for _, a := range []*agent{p.eu, p.asia} {
		eventually(t, longest, a.card.Replica.Region+" restores by its own countdown", func() bool {
			v := a.view(id)
			return v.State == catalog.DrillEnded && v.Recorded == catalog.DrillRunning && v.Outcome == catalog.OutcomeSucceeded && len(a.catalog.Conditions().Drills) == 0
		})
	}
	eventually(t, patience, "their votes are free again", func() bool {
		b := p.asia.view(id).Ballot("asia-east")
		return b != nil && b.Released
	})
	p.west = start(t, Place{DataDir: p.west.cfg.DataDir}, p.west.cfg.Services)
	eventually(t, patience, "the coordinator is back and writes its end", func() bool {
		return p.west.view(id).Recorded == catalog.DrillEnded && p.asia.view(id).Recorded == catalog.DrillEnded
	})
	return ""
}

func TestAChangeOfLeaderDoesNotDisturbADrill(t *testing.T) {
	t.Parallel()
	west := initialise(t, "us-west", "a", writeServices(t, "127.0.0.11"))
	b := west.admit(t, "us-west", "b", "")
	c := west.admit(t, "us-west", "c", "")
	eu := b.admit(t, "eu-central", "a", writeServices(t, "127.0.0.21"))
	all := []*agent{west, b, c}
	eventually(t, longest, "three voters, and everybody knows both", func() bool {
		return voters(west) == 3 && len(backends(west, "shop/checkout")) == 2 && len(backends(eu, "shop/checkout")) == 2 && len(b.replicasOf("eu-central")) == 1
	})
	inTime(t, "handed-over", 6*time.Second, func(t *testing.T, id string, hold time.Duration) (why string) {
		west.startDrill(t, drillFor(west, id, "eu-central", hold))
		ran := meanwhile(t, id, []*agent{eu}, func(_ *agent, v *catalog.DrillView) bool { return v.State == catalog.DrillRunning })
		handOver(t, all)
		ran = ran && eu.view(id).State == catalog.DrillRunning
		eventually(t, longest, "the new leader ends it", func() bool {
			v := eu.view(id)
			b := v.Ballot("eu-central")
			return v.Recorded == catalog.DrillEnded && (b == nil || !b.Granted || b.Released)
		})
		v := eu.view(id)
		if took := v.Ended.Sub(v.Begun); !ran || v.Outcome != catalog.OutcomeSucceeded || took < hold-time.Second {
			return fmt.Sprintf("it ran while the leader changed: %v; it took %s and %s: %s", ran, took, v.Outcome, v.Detail)
		}
		return ""
	})
}

func TestAnIsolatedRegionIsCutOffAndComesBackByItself(t *testing.T) {
	t.Parallel()
	p := newPractice(t)
	inTime(t, "alone", 20*time.Second, func(t *testing.T, id string, hold time.Duration) (why string) {
		d := drillFor(p.west, id, "eu-central", hold)
		d.Kind = catalog.DrillIsolate
		p.west.startDrill(t, d)
		why = p.isolated(t, id)
		eventually(t, longest, "the isolation is over", func() bool { return p.eu.catalog.Conditions().CutOff == "" })
		p.settled(t, id)
		p.reunited(t)
		if v := p.asia.view(id); why != "" || v.Outcome != catalog.OutcomeSucceeded {
			return fmt.Sprintf("%s; it %s: %s", why, v.Outcome, v.Detail)
		}
		p.everywhere(t, patience, id, "it has succeeded", ended(catalog.OutcomeSucceeded))
		return ""
	})
}

// reunited waits until every region sees all others.
func (p *practice) reunited(t *testing.T) {
	t.Helper()
	for _, a := range p.all() {
		eventually(t, patience, a.card.Replica.Region+" sees all others again", func() bool {
			ok := !a.catalog.Conditions().Isolated
			for _, reach := range a.catalog.Conditions().Reach {
				ok = ok && reach == catalog.Reachable
			}
			return ok
		})
	}
}

// isolated looks at what must be so while eu-central is cut off, and restarts it.
func (p *practice) isolated(t *testing.T, id string) (why string) {
	conditions := func(a *agent) *catalog.Conditions { return a.catalog.Conditions() }
	for _, step := range []struct {
		what string
		is   func() bool
	}{
		{"it is cut off", func() bool { return conditions(p.eu).CutOff == id }},
		{"it notices that it is alone, and serves what it has first", func() bool { return conditions(p.eu).Isolated }},
		{"the others notice that it is silent", func() bool {
			return conditions(p.west).Reach["eu-central"] != catalog.Reachable && conditions(p.asia).Reach["eu-central"] != catalog.Reachable
		}},
		{"no other region is cut off, too", func() bool {
			return conditions(p.west).CutOff == "" && !conditions(p.west).Isolated && conditions(p.asia).Reach["us-west"] == catalog.Reachable
		}},
	} {
		if !meanwhile(t, id, []*agent{p.eu}, func(*agent, *catalog.DrillView) bool { return step.is() }) {
			return "not before its end: " + step.what
		}
	}
	stranger := enroll.Admission{Replica: catalog.Replica{Name: "stranger", Region: "us-west"}}
	if err := (admissions{p.eu.Replica}).Redeem(t.Context(), stranger); !errors.Is(err, enroll.ErrUnavailable) || !strings.Contains(err.Error(), id) {
		why = fmt.Sprintf("a token of the region that is cut off let somebody into another: %v", err)
		if conditions(p.eu).CutOff == id {
			t.Error(why)
		}
		return why
	}
	at, services := Place{DataDir: p.eu.cfg.DataDir}, p.eu.cfg.Services
	_ = p.eu.stop()
	p.eu = start(t, at, services)
	if conditions(p.eu).CutOff != id {
		return "a restart ended the isolation"
	}
	return ""
}
