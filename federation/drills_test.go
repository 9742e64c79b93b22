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
		eventually(t, 30*time.Second, a.card.Replica.Region+" knows all three, and their releases", func() bool {
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

// everywhere waits until every region sees the drill as ok demands.
func (p practice) everywhere(t *testing.T, within time.Duration, id, what string, ok func(*agent, *catalog.DrillView) bool) {
	t.Helper()
	for _, a := range p.all() {
		eventually(t, within, a.card.Replica.Region+": "+what, func() bool { return ok(a, a.view(id)) })
	}
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
	begun := time.Now()
	d := drillFor(p.west, "first", "us-west", 5*time.Second)
	d.Shape.Ramp = catalog.Duration(time.Second)
	p.west.startDrill(t, d)
	p.everywhere(t, 30*time.Second, "first", "the traffic has left", held)
	t.Logf("held everywhere %s after the start, of which the ramp takes 1s", time.Since(begun))
	p.everywhere(t, 30*time.Second, "first", "it has ended", ended(catalog.OutcomeSucceeded))
	p.everywhere(t, 30*time.Second, "first", "each region granted it, acknowledged every phase and released its vote", func(_ *agent, v *catalog.DrillView) bool {
		ok := len(v.Ballots) == 3
		for _, b := range v.Ballots {
			ok = ok && b.Granted && b.Released && len(b.Acks) == 3
		}
		return ok
	})
	t.Run("another may follow, and any region stops it", func(t *testing.T) {
		p.eu.startDrill(t, drillFor(p.eu, "second", "us-west", time.Minute))
		p.everywhere(t, 30*time.Second, "second", "it runs", held)
		err := p.asia.proposeDrill(t.Context(), &state.StartDrill{Drill: drillFor(p.asia, "third", "eu-central", time.Minute)})
		if !errors.Is(err, state.ErrConflict) || !strings.Contains(err.Error(), "second") {
			t.Fatalf("expected a refusal that names the other drill, found %v", err)
		}
		if err := p.asia.proposeDrill(t.Context(), &state.MarkBallot{Drill: "second", End: &catalog.DrillEnd{
			Outcome: catalog.OutcomeStopped, Reason: "enough", Actor: "tester", At: time.Now(),
		}}); err != nil {
			t.Fatal(err)
		}
		p.everywhere(t, 30*time.Second, "second", "it is stopped", ended(catalog.OutcomeStopped))
	})
	t.Run("it is extended", func(t *testing.T) {
		p.eu.startDrill(t, drillFor(p.eu, "longer", "us-west", 4*time.Second))
		p.everywhere(t, 30*time.Second, "longer", "it runs", held)
		if err := p.west.proposeDrill(t.Context(), &state.MarkBallot{Drill: "longer", Extend: catalog.Duration(3 * time.Second)}); err != nil {
			t.Fatal(err)
		}
		p.everywhere(t, 30*time.Second, "longer", "it has ended", ended(catalog.OutcomeSucceeded))
		v := p.asia.view("longer")
		if took := v.Ended.Sub(v.Begun); took < 6*time.Second {
			t.Fatalf("it took %s, extension and all", took)
		}
	})
	t.Run("a real failure ends it everywhere", func(t *testing.T) { p.abortOnFailure(t) })
	t.Run("without a majority it is refused, and says why", func(t *testing.T) { p.refuse(t) })
}

// abortOnFailure lets the endpoints that are left fail during a drill.
func (p practice) abortOnFailure(t *testing.T) {
	policy := state.PutObject{ObjectKey: catalog.ObjectKey{Kind: catalog.KindPolicy, Name: catalog.DefaultPolicy},
		Spec: []byte(`{"safety":{"minEndpointsPercent":60}}`)}
	if err := p.west.proposeDrill(t.Context(), &policy); err != nil {
		t.Fatal(err)
	}
	p.west.startDrill(t, drillFor(p.west, "failing", "us-west", time.Minute))
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
		eventually(t, 30*time.Second, a.card.Replica.Region+" knows the policy", func() bool {
			safety := a.catalog.Conditions().Policies[catalog.DefaultPolicy].Safety
			return safety != nil && safety.MinRegions == 3
		})
	}
	p.west.startDrill(t, drillFor(p.west, "unsafe", "us-west", time.Minute))
	p.everywhere(t, 30*time.Second, "unsafe", "it is refused", ended(catalog.OutcomeRefused))
	for _, want := range []string{"1 of 3 regions granted it", "region eu-central refuses", "region asia-east refuses", "shop/checkout"} {
		if v := p.eu.view("unsafe"); !strings.Contains(v.Detail, want) {
			t.Errorf("expected %q in %q", want, v.Detail)
		}
	}
	eventually(t, 30*time.Second, "us-west releases its vote", func() bool { b := p.west.view("unsafe").Ballot("us-west"); return b != nil && b.Released })
}

func TestADrillOutlivesItsCoordinatorAndARestart(t *testing.T) {
	t.Parallel()
	p := newPractice(t)
	p.west.startDrill(t, drillFor(p.west, "long", "us-west", 20*time.Second))
	p.everywhere(t, 30*time.Second, "long", "it runs", held)
	_ = p.west.stop()
	at := Place{DataDir: p.eu.cfg.DataDir}
	services := p.eu.cfg.Services
	eventually(t, 30*time.Second, "eu-central has written down how far it is", func() bool {
		b := p.eu.view("long").Ballot("eu-central")
		return b != nil && b.Elapsed >= catalog.Duration(10*time.Second)
	})
	_ = p.eu.stop()
	eu := start(t, at, services)
	if v := eu.view("long"); v.State != catalog.DrillRunning || v.Elapsed < 10*time.Second {
		t.Fatalf("the restarted replica does not go on counting: %s after %s", v.State, v.Elapsed)
	}
	for _, a := range []*agent{eu, p.asia} {
		eventually(t, 30*time.Second, a.card.Replica.Region+" restores by its own countdown", func() bool {
			v := a.view("long")
			return v.State == catalog.DrillEnded && v.Recorded == catalog.DrillRunning && v.Outcome == catalog.OutcomeSucceeded && len(a.catalog.Conditions().Drills) == 0
		})
	}
	eventually(t, 30*time.Second, "their votes are free again", func() bool {
		b := p.asia.view("long").Ballot("asia-east")
		return b != nil && b.Released
	})
	west := start(t, Place{DataDir: p.west.cfg.DataDir}, p.west.cfg.Services)
	eventually(t, 30*time.Second, "the coordinator is back and writes its end", func() bool {
		return west.view("long").Recorded == catalog.DrillEnded && p.asia.view("long").Recorded == catalog.DrillEnded
	})
}

func TestAChangeOfLeaderDoesNotDisturbADrill(t *testing.T) {
	t.Parallel()
	west := initialise(t, "us-west", "a", writeServices(t, "127.0.0.11"))
	b := west.admit(t, "us-west", "b", "")
	c := west.admit(t, "us-west", "c", "")
	eu := b.admit(t, "eu-central", "a", writeServices(t, "127.0.0.21"))
	all := []*agent{west, b, c}
	eventually(t, 30*time.Second, "three voters, and everybody knows both", func() bool {
		voters := 0
		for _, s := range west.node.Servers() {
			if s.Voter {
				voters++
			}
		}
		return voters == 3 && len(backends(west, "shop/checkout")) == 2 && len(backends(eu, "shop/checkout")) == 2 && len(b.replicasOf("eu-central")) == 1
	})
	west.startDrill(t, drillFor(west, "d", "eu-central", 6*time.Second))
	eventually(t, 30*time.Second, "it runs", func() bool { return eu.view("d").State == catalog.DrillRunning })
	for _, a := range all {
		if a.node.IsLeader() {
			if err := a.node.TransferLeadership(); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	eventually(t, 30*time.Second, "the new leader ends it", func() bool {
		v := eu.view("d")
		return v.Recorded == catalog.DrillEnded && v.Outcome == catalog.OutcomeSucceeded
	})
	if v := eu.view("d"); v.Ended.Sub(v.Begun) < 5*time.Second {
		t.Fatalf("it took %s only", v.Ended.Sub(v.Begun))
	}
}

func TestAnIsolatedRegionIsCutOffAndComesBackByItself(t *testing.T) {
	t.Parallel()
	p := newPractice(t)
	d := drillFor(p.west, "alone", "eu-central", 20*time.Second)
	d.Kind = catalog.DrillIsolate
	p.west.startDrill(t, d)
	eventually(t, 30*time.Second, "eu-central is cut off", func() bool { return p.eu.catalog.Conditions().CutOff == "alone" })
	eventually(t, 30*time.Second, "it notices that it is alone, and serves what it has first", func() bool { return p.eu.catalog.Conditions().Isolated })
	eventually(t, 30*time.Second, "the others notice that it is silent", func() bool {
		return p.west.catalog.Conditions().Reach["eu-central"] != catalog.Reachable && p.asia.catalog.Conditions().Reach["eu-central"] != catalog.Reachable
	})
	if p.west.catalog.Conditions().CutOff != "" || p.west.catalog.Conditions().Isolated || p.asia.catalog.Conditions().Reach["us-west"] != catalog.Reachable {
		t.Error("another region is cut off, too")
	}
	stranger := enroll.Admission{Replica: catalog.Replica{Name: "stranger", Region: "us-west"}}
	if err := (admissions{p.eu.Replica}).Redeem(t.Context(), stranger); !errors.Is(err, enroll.ErrUnavailable) || !strings.Contains(err.Error(), "alone") {
		t.Errorf("a token of the region that is cut off let somebody into another: %v", err)
	}
	at := Place{DataDir: p.eu.cfg.DataDir}
	services := p.eu.cfg.Services
	_ = p.eu.stop()
	eu := start(t, at, services)
	if eu.catalog.Conditions().CutOff != "alone" {
		t.Fatal("a restart ended the isolation")
	}
	p.eu = eu
	eventually(t, 60*time.Second, "the isolation is over", func() bool { return eu.catalog.Conditions().CutOff == "" })
	p.everywhere(t, 30*time.Second, "alone", "all see each other again, and the end", func(a *agent, v *catalog.DrillView) bool {
		ok := v.Recorded == catalog.DrillEnded && v.Outcome == catalog.OutcomeSucceeded && !a.catalog.Conditions().Isolated
		for _, reach := range a.catalog.Conditions().Reach {
			ok = ok && reach == catalog.Reachable
		}
		return ok
	})
}
