package drill

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/federator/federator/federation/catalog"
)

// told writes a plan as the tests expect it: a line for each group, each with its
// services, its load by place and what each client region gets.
func told(p Plan) string {
	var b strings.Builder
	for _, g := range p.Groups {
		fmt.Fprintf(&b, "%s x%d:%s", strings.Join(g.Services, "+"), g.Count, loads(g.Load))
		if g.SetAside {
			b.WriteString(" set aside")
		}
		for _, c := range g.Clients {
			fmt.Fprintf(&b, "\n  from %s:%s", c.Region, loads(c.Load))
			if c.Stale {
				b.WriteString(" stale")
			}
		}
		b.WriteString("\n")
	}
	for _, f := range p.Findings {
		fmt.Fprintf(&b, "%s %s %s: %s\n", f.Severity, f.Code, f.Subject, f.Found)
	}
	return b.String()
}

func loads(list []Load) string {
	var b strings.Builder
	for _, l := range list {
		mark := ""
		if l.Drilled {
			mark = "(drilled)"
		}
		fmt.Fprintf(&b, " %s%s %d->%d", l.Place, mark, l.Before/10_000, l.After/10_000)
	}
	return b.String()
}

func TestAPlanSaysWhereTrafficGoesAndWhatWouldBreak(t *testing.T) {
	both := func(name string) *catalog.Service { return served(name, "us-west", "eu-central") }
	isolate := evacuation("us-west")
	isolate.Kind = catalog.DrillIsolate
	cluster := evacuation("us-west")
	cluster.Scope.Cluster = "us-west-2"
	one := evacuation("us-west")
	one.Scope.Service = catalog.ServiceName{Namespace: "shop", Name: "b"}
	forced := evacuation("us-west")
	forced.Forced = true
	silent := newWorld(both("a"))
	silent.Conditions.Reach["asia-east"] = catalog.Silent
	evacuated := newWorld(both("a"))
	evacuated.Conditions.Evacuations["eu-central"] = catalog.Evacuation{Region: "eu-central"}
	gated := newWorld(both("a")).safety("default", catalog.Safety{Gates: []string{"shop", "till", "vault"}})
	gated.Gates["till"] = catalog.Gate{Operators: []string{"bo", "cy"}, OpenUntil: noon}
	busy := newWorld(both("a"))
	busy.Drills = []catalog.DrillView{{Drill: catalog.Drill{ID: "d0", State: catalog.DrillRunning, Scope: catalog.Scope{Region: "eu-central"}}, Phase: catalog.PhaseHold}}
	for _, tt := range []struct {
		name string
		w    World
		d    catalog.Drill
		want string
	}{
		{"a region of which another has all", newWorld(both("a"), both("b")), evacuation("us-west"), `shop/a+shop/b x2: us-west(drilled) 66->0 eu-central 33->100
  from asia-east: us-west(drilled) 100->0 eu-central 0->100
  from eu-central: eu-central 100->100
  from us-west: us-west(drilled) 100->0 eu-central 0->100
warns load region eu-central: it would carry 3.0 times its load of the services concerned
`},
		{"a service that is only there", newWorld(served("a", "us-west"), served("c", "us-west")), evacuation("us-west"), `shop/a+shop/c x2: us-west(drilled) 100->100 set aside
  from asia-east: us-west(drilled) 100->100
  from eu-central: us-west(drilled) 100->100
  from us-west: us-west(drilled) 100->100
blocks nowhere-else 2 services (shop/a, shop/c): it is served nowhere else, so the drill would not touch it
`},
		{"a service that is only there, beside others", newWorld(both("a"), served("c", "us-west")), evacuation("us-west"), `shop/a x1: us-west(drilled) 66->0 eu-central 33->100
  from asia-east: us-west(drilled) 100->0 eu-central 0->100
  from eu-central: eu-central 100->100
  from us-west: us-west(drilled) 100->0 eu-central 0->100
shop/c x1: us-west(drilled) 100->100 set aside
  from asia-east: us-west(drilled) 100->100
  from eu-central: us-west(drilled) 100->100
  from us-west: us-west(drilled) 100->100
warns nowhere-else service shop/c: it is served nowhere else, so the drill would not touch it
warns load region eu-central: it would carry 3.0 times its load of the services concerned
`},
		{"a service whose rest is dead", newWorld(served("a", "us-west", "eu-central!4")), evacuation("us-west"), `shop/a x1: us-west(drilled) 100->100 set aside
  from asia-east: us-west(drilled) 100->100
  from eu-central: us-west(drilled) 100->100
  from us-west: us-west(drilled) 100->100
blocks nothing-left service shop/a: it would leave nothing that may serve, so the drill would not touch it
`},
		{"a zone", newWorld(served("a", "us-west/a", "us-west/b")), evacuation("us-west/a"), `shop/a x1: us-west(drilled) 50->0 us-west 50->100
  from asia-east: us-west(drilled) 50->0 us-west 50->100
  from eu-central: us-west(drilled) 50->0 us-west 50->100
  from us-west: us-west(drilled) 50->0 us-west 50->100
warns load region us-west: it would carry 2.0 times its load of the services concerned
`},
		{"a cluster", newWorld(served("a", "us-west/a/us-west-1", "us-west/a/us-west-2")), cluster, `shop/a x1: us-west(drilled) 50->0 us-west 50->100
  from asia-east: us-west(drilled) 50->0 us-west 50->100
  from eu-central: us-west(drilled) 50->0 us-west 50->100
  from us-west: us-west(drilled) 50->0 us-west 50->100
warns load region us-west: it would carry 2.0 times its load of the services concerned
`},
		{"too few regions left", newWorld(both("a")).safety("default", catalog.Safety{MinRegions: 2}), evacuation("us-west"), `shop/a x1: us-west(drilled) 66->66 eu-central 33->33 set aside
  from asia-east: us-west(drilled) 100->100
  from eu-central: eu-central 100->100
  from us-west: us-west(drilled) 100->100
blocks under-min-regions service shop/a: it would leave 1 region serving, the policy asks for 2
`},
		{"too few regions left, forced", newWorld(both("a")).safety("default", catalog.Safety{MinRegions: 2}), forced, `shop/a x1: us-west(drilled) 66->0 eu-central 33->100
  from asia-east: us-west(drilled) 100->0 eu-central 0->100
  from eu-central: eu-central 100->100
  from us-west: us-west(drilled) 100->0 eu-central 0->100
blocks under-min-regions service shop/a: it would leave 1 region serving, the policy asks for 2
warns load region eu-central: it would carry 3.0 times its load of the services concerned
`},
		{"too few endpoints left", newWorld(both("a")).safety("shop/a", catalog.Safety{MinEndpointsPercent: 60}), evacuation("us-west"), `shop/a x1: us-west(drilled) 66->66 eu-central 33->33 set aside
  from asia-east: us-west(drilled) 100->100
  from eu-central: eu-central 100->100
  from us-west: us-west(drilled) 100->100
blocks under-min-endpoints service shop/a: it would leave 4 of 8 endpoints serving, the policy asks for 60 %
`},
		{"one service of two", newWorld(served("a", "us-west"), served("b", "us-west", "eu-central")), one, `shop/b x1: us-west(drilled) 66->0 eu-central 33->100
  from asia-east: us-west(drilled) 100->0 eu-central 0->100
  from eu-central: eu-central 100->100
  from us-west: us-west(drilled) 100->0 eu-central 0->100
warns load region eu-central: it would carry 3.0 times its load of the services concerned
`},
		{"an isolated region", newWorld(served("a", "us-west"), served("b", "eu-central")), isolate, `shop/a x1: us-west(drilled) 100->100
  from asia-east: us-west(drilled) 100->100 stale
  from eu-central: us-west(drilled) 100->100 stale
  from us-west: us-west(drilled) 100->100
shop/b x1: eu-central 100->100
  from asia-east: eu-central 100->100
  from eu-central: eu-central 100->100
  from us-west: eu-central 100->100 stale
warns unconfirmed service shop/b: it is not served in the region, whose clients would get the last known endpoints of others
`},
		{"a silent region elsewhere", silent, evacuation("us-west"), `shop/a x1: us-west(drilled) 66->0 eu-central 33->100
  from asia-east: us-west(drilled) 100->0 eu-central 0->100
  from eu-central: eu-central 100->100
  from us-west: us-west(drilled) 100->0 eu-central 0->100
blocks region-unreachable region asia-east: it is silent, seen from us-west
warns load region eu-central: it would carry 3.0 times its load of the services concerned
`},
		{"an evacuated region elsewhere", evacuated, evacuation("us-west"), `shop/a x1: us-west(drilled) 100->100 set aside
  from asia-east: us-west(drilled) 100->100
  from eu-central: us-west(drilled) 100->100
  from us-west: us-west(drilled) 100->100
blocks nothing-left service shop/a: it would leave nothing that may serve, so the drill would not touch it
warns evacuated region eu-central: it is evacuated, so it takes over nothing
`},
		{"gates", gated, evacuation("eu-central"), `shop/a x1: eu-central(drilled) 33->0 us-west 66->100
  from asia-east: us-west 100->100
  from eu-central: eu-central(drilled) 100->0 us-west 0->100
  from us-west: us-west 100->100
blocks gate-closed gate till: it is closed; 1 service needs it open
blocks gate-closed gate vault: it does not exist, so it is closed; 1 service needs it open
`},
		{"another drill", busy, evacuation("us-west"), `shop/a x1: us-west(drilled) 66->0 eu-central 33->100
  from asia-east: us-west(drilled) 100->0 eu-central 0->100
  from eu-central: eu-central 100->100
  from us-west: us-west(drilled) 100->0 eu-central 0->100
blocks other-drill drill d0: it is running, takes away eu-central and overlaps
warns load region eu-central: it would carry 3.0 times its load of the services concerned
`},
		{"no such region", newWorld(both("a")), evacuation("mars"), "blocks no-such-scope mars: there is no such region\n"},
		{"no such zone", newWorld(both("a")), evacuation("us-west/z"), "blocks no-such-scope us-west/z: nothing is served there, so there is nothing to practise\n"},
		{"no such service", newWorld(served("a", "us-west")), one, "blocks no-such-scope us-west, service shop/b: there is no such service\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := MakePlan(tt.w, tt.d)
			if diff := cmp.Diff(tt.want, told(p)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, f := range p.Findings {
				if f.Do == "" {
					t.Errorf("%s says not what to do", f.Code)
				}
			}
			if diff := cmp.Diff(p.Unsafe(), Unsafe(Check(tt.w, tt.d))); diff != "" {
				t.Errorf("the plan and the check disagree: -plan +check:\n%s", diff)
			}
		})
	}
}

func TestWhatADrillDoesItselfDoesNotSpeakAgainstIt(t *testing.T) {
	w := newWorld(served("a", "us-west", "eu-central"))
	d := evacuation("us-west")
	d.Begun, d.State = noon, catalog.DrillRunning
	before := told(MakePlan(w, d))
	w.Conditions.Drills = []catalog.DrillInForce{{ID: d.ID, Scope: d.Scope, Share: 1_000_000, Begun: noon}}
	w.Drills = []catalog.DrillView{{Drill: d, Phase: catalog.PhaseHold}}
	if diff := cmp.Diff(before, told(MakePlan(w, d))); diff != "" {
		t.Errorf("-before +during:\n%s", diff)
	}
}

func TestAScheduledDrillDoesNotHoldAnOperatorUp(t *testing.T) {
	w := newWorld(served("a", "us-west", "eu-central"))
	practice := evacuation("eu-central")
	practice.ID, practice.Schedule, practice.State = "p", "weekly", catalog.DrillRunning
	w.Drills = []catalog.DrillView{{Drill: practice, Phase: catalog.PhaseHold}}
	if reasons := Unsafe(Check(w, evacuation("us-west"))); len(reasons) > 0 {
		t.Errorf("held up by %v", reasons)
	}
	other := evacuation("us-west")
	other.Schedule = "daily"
	if reasons := Unsafe(Check(w, other)); len(reasons) != 1 {
		t.Errorf("expected practice to wait for other practice, found %v", reasons)
	}
}

func TestAPlanNamesABoundedNumberOfServices(t *testing.T) {
	for _, unlike := range []bool{false, true} {
		w := grid(3*MaxListed, 3, unlike)
		start := time.Now()
		p := MakePlan(w, evacuation("region-0"))
		named := 0
		for _, g := range p.Groups {
			named += len(g.Services)
		}
		if named != MaxListed || p.Unlisted != 2*MaxListed || p.Concerned != 3*MaxListed {
			t.Errorf("named %d, not listed %d, concerned %d, in %d groups after %v", named, p.Unlisted, p.Concerned, len(p.Groups), time.Since(start))
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	for name, unlike := range map[string]bool{"alike": false, "unlike": true} {
		w := grid(10_000, 10, unlike)
		b.Run("10000x10-"+name, func(b *testing.B) {
			for b.Loop() {
				MakePlan(w, evacuation("region-0"))
			}
		})
		b.Run("check-10000x10-"+name, func(b *testing.B) {
			for b.Loop() {
				Check(w, evacuation("region-0"))
			}
		})
	}
}
