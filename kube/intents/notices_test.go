package intents

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube/api/v1alpha1"
)

// heard is what a plan tells of an object, as kubectl shows Events.
func heard(n Notice, ok bool) string {
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s %s: %s", map[bool]string{true: "Warning", false: "Normal"}[n.Warning], n.Reason, n.Message)
}

func TestWhatIsToldOfAPolicy(t *testing.T) {
	elsewhere := PolicyPut{Origin: catalog.PolicyOrigin{Cluster: "e1", Namespace: "shop", Name: "theirs"}, Policy: catalog.ClusterPolicy{Service: "checkout", CreatedAt: t0}}
	p := resolution("mine", "checkout", 5, "west")
	w := newWorld(t, p)
	var said []string
	// tell carries out what there is to do, and collects what is told with it.
	tell := func() string {
		said = nil
		for range 3 {
			w.look()
			plan := w.in.Plan()
			for _, put := range plan.Puts {
				w.write("west", put, false)
			}
			for _, s := range plan.Statuses {
				n, ok := plan.Notices[s.UID]
				said = append(said, heard(n, ok))
				w.in.Objects = []*v1alpha1.ResolutionPolicy{s}
			}
		}
		return strings.Join(said, "; ")
	}
	for _, step := range []struct {
		what   string
		change func()
		want   string
	}{
		{"it is taken up", func() {}, "Normal InForce: it decides how shop/checkout is resolved, in every region"},
		{"nothing changes", func() {}, ""},
		{"an older one comes", func() { w.write("east", elsewhere, false) }, "Warning Conflict: ResolutionPolicy shop/theirs of cluster e1 is older and counts for shop/checkout"},
		{"an export rule refuses it", func() {
			w.law.Refuses = func(_, cluster string, _ catalog.ServiceName) []string {
				return map[string][]string{"w1": {"payments"}}[cluster]
			}
		}, "Warning ExportRules: no export rule of the federation lets cluster w1 export shop/checkout, so it does not decide how that is resolved either; it is named by payments"},
		{"all is well again", func() {
			w.law.Refuses = func(string, string, catalog.ServiceName) []string { return nil }
			w.write("east", elsewhere, true)
		}, "Normal InForce: it decides how shop/checkout is resolved, in every region"},
		{"it is changed into nonsense", func() {
			next := w.in.Objects[0].DeepCopy()
			next.Generation, next.Spec.RegionOrder = 2, v1alpha1.Labels{"West"}
			w.in.Objects = []*v1alpha1.ResolutionPolicy{next}
		}, `Warning Invalid: regionOrder[0]: region "West": expected a DNS label`},
	} {
		step.change()
		if got := tell(); !strings.HasPrefix(got, step.want) || step.want == "" && got != "" {
			t.Errorf("%s: expected %q, found %q", step.what, step.want, got)
		}
	}
}

func TestWhatIsToldOfADrill(t *testing.T) {
	over := func(s *stage, outcome catalog.DrillOutcome, detail string) {
		v := s.view("kube-a-uid")
		v.State, v.Recorded, v.Phase, v.Outcome, v.Detail, v.Ended = catalog.DrillEnded, catalog.DrillEnded, catalog.PhaseOver, outcome, detail, t0.Add(2*time.Minute)
	}
	run := func(s *stage) {
		v := s.view("kube-a-uid")
		v.State, v.Recorded, v.Phase, v.Begun = catalog.DrillRunning, catalog.DrillRunning, catalog.PhaseHold, t0.Add(3*time.Second)
	}
	const started = "Normal DrillStarted: drill kube-a-uid takes checkout away from region west: practice"
	for name, c := range map[string]struct {
		first func(*stage)
		then  []func(*stage)
		want  string
	}{
		"it runs to its end":    {nil, []func(*stage){run, func(s *stage) { over(s, catalog.OutcomeSucceeded, "") }}, started + "; Normal DrillEnded: it is over: succeeded"},
		"an alarm ends it":      {nil, []func(*stage){run, func(s *stage) { over(s, catalog.OutcomeAborted, "errors") }}, started + "; Warning DrillEnded: it is over: aborted, errors"},
		"the regions refuse it": {nil, []func(*stage){func(s *stage) { over(s, catalog.OutcomeRefused, "0 of 2 regions") }}, "Warning DrillRefused: it is over: refused, 0 of 2 regions"},
		"its plan is unsafe":    {func(s *stage) { s.refusal = &Refusal{v1alpha1.ReasonUnsafe, "nothing left"} }, nil, "Warning Unsafe: it does not begin: nothing left"},
		"an export rule":        {func(s *stage) { s.rules = []string{"payments"} }, nil, "Warning ExportRules: it does not begin: no export rule of the federation lets cluster w1 export shop/checkout, so it does not drill it either; it is named by payments"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, practice("a"))
			if c.first != nil {
				c.first(s)
			}
			var said []string
			step := func() {
				for range 4 {
					plan := s.step(true)
					if s.refusal != nil && len(plan.Starts) > 0 {
						plan = s.step(false)
					}
					if n, ok := plan.Notices["a-uid"]; ok {
						said = append(said, heard(n, ok))
					}
				}
			}
			step()
			for _, then := range c.then {
				then(s)
				step()
			}
			if got := strings.Join(said, "; "); got != c.want {
				t.Errorf("expected %q\nfound %q", c.want, got)
			}
		})
	}
}
