package checker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/federator/federator/peering/pb"
)

// Finding is a problem that check lists.
type Finding struct{ Severity, Code, Subject, Found string }

// String is the finding in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s %s of %s: %s", f.Severity, f.Code, f.Subject, f.Found)
}

// same reports whether two findings are the same problem, whatever its words
// and severity are at the moment.
func (f Finding) same(o Finding) bool { return f.Code == o.Code && f.Subject == o.Subject }

// Expectation is a problem that a replica must name.
type Expectation struct {
	// By is who must name it.
	By func(Target) bool
	// Codes are the codes that it may have; Subject is a part of what it is about.
	Codes   []string
	Subject string
}

func (e Expectation) String() string { return strings.Join(e.Codes, " or ") + " of " + e.Subject }

// met reports whether one of the findings is the expected one, and status shows it
// too if it is of what status shows.
func (e Expectation) met(found []Finding) bool {
	return e.named(found, "") && (!slices.ContainsFunc(e.Codes, shown) || e.named(found, inStatus))
}

func (e Expectation) named(found []Finding, prefix string) bool {
	return slices.ContainsFunc(found, func(f Finding) bool {
		code, ok := strings.CutPrefix(f.Code, prefix)
		return ok && slices.Contains(e.Codes, code) && strings.Contains(f.Subject, e.Subject)
	})
}

// answerWithin is how long a replica that runs may not answer.
const answerWithin = 5 * time.Second

// noAnswer is what is found of a replica that does not answer.
const noAnswer = "no answer"

// inStatus begins the code of what status shows, where check has the rest of it.
const inStatus = "status:"

// shown reports whether status shows a problem that check names by a code.
func shown(code string) bool {
	switch code {
	case "region-silent", "region-control-plane-lost", "region-out", "isolated":
		return true
	}
	return false
}

// shows is what a status says is not well.
func shows(s *pb.StatusResponse) []Finding {
	var out []Finding
	say := func(code, subject, found string) {
		out = append(out, Finding{"status", inStatus + code, subject, found})
	}
	if s.GetIsolated() {
		say("isolated", "region "+s.GetSelf().GetRegion(), "isolated")
	}
	if !s.GetReady() {
		say("not-ready", "replica "+s.GetSelf().GetName(), strings.Join(s.GetWaitingFor(), ", "))
	}
	if s.GetRaft().GetLeader() == "" {
		say("no-leader", "region "+s.GetSelf().GetRegion(), s.GetRaft().GetState())
	}
	for _, r := range s.GetRegions() {
		if r.GetOwn() || r.GetRemoved() {
			continue
		}
		if r.GetReach() != "reachable" {
			say("region-"+r.GetReach(), "region "+r.GetName(), r.GetReach())
		}
		if r.GetFreshness() != "fresh" {
			say("region-stale", "region "+r.GetName(), r.GetFreshness())
		}
	}
	return out
}

// Problems checks that federator check names a fault while it lasts, that status
// shows it, and that both go quiet after. The scenario calls [Problems.Baseline] before the fault,
// [Problems.Named] during it, also right before it heals it, and
// [Problems.Quiet] after.
type Problems struct {
	targets []Target
	every   time.Duration
	ledger

	state    sync.Mutex           // guards what follows
	baseline map[string][]Finding // by target
	asked    int
	naming   time.Duration // the longest until a fault was named
	quieting time.Duration // the longest until all was quiet
}

// NewProblems returns a checker that asks the targets as often as given.
func NewProblems(targets []Target, every time.Duration) *Problems {
	return &Problems{targets: targets, every: every, baseline: map[string][]Finding{}}
}

// Run implements [Checker]: it asks all the time, so that check itself is seen to
// answer whenever the agent does.
func (p *Problems) Run(ctx context.Context) {
	all, err := newLines(p.targets)
	if err != nil {
		p.add(Violation{At: time.Now(), Where: "check", Expected: "replicas to ask", Found: err.Error()})
		return
	}
	defer all.close()
	for sleep(ctx, p.every) {
		p.ask(ctx, all)
	}
}

// answers are what check and status say of each target; false for those that do not answer.
type answers struct {
	found []Finding
	ok    bool
}

func (a answers) none() bool { return !a.ok }

func (p *Problems) ask(ctx context.Context, all lines) []answers {
	out := make([]answers, len(all))
	all.each(func(i int, l *line) error {
		return l.call(ctx, 10*time.Second, func(ctx context.Context, agent pb.OperatorClient) error {
			said, err := agent.Check(ctx, &pb.CheckRequest{})
			if err != nil {
				return err
			}
			status, err := agent.Status(ctx, &pb.StatusRequest{})
			if err != nil {
				return err
			}
			out[i] = answers{append(findings(said.GetProblems()), shows(status)...), true}
			return nil
		})
	})
	p.state.Lock()
	defer p.state.Unlock()
	for _, a := range out {
		if a.ok {
			p.asked++
		}
	}
	return out
}

// findings leaves out what is about the objects of other checkers.
func findings(problems []*pb.Problem) []Finding {
	var out []Finding
	for _, p := range problems {
		f := Finding{p.GetSeverity(), p.GetCode(), p.GetSubject(), p.GetFound()}
		if !isOurs(f.Subject) && !isOurs(f.Found) {
			out = append(out, f)
		}
	}
	return out
}

// Baseline takes what the replicas find now as what is always wrong with this
// federation, such as too few replicas. It asks again while one does not answer.
func (p *Problems) Baseline(ctx context.Context) error {
	all, err := newLines(p.targets)
	if err != nil {
		return err
	}
	defer all.close()
	began := time.Now()
	replies := p.ask(ctx, all)
	for slices.ContainsFunc(replies, answers.none) && time.Since(began) < answerWithin && sleep(ctx, 100*time.Millisecond) {
		replies = p.ask(ctx, all)
	}
	if i := slices.IndexFunc(replies, answers.none); i >= 0 {
		return fmt.Errorf("check on %s does not answer within %v, before anything was broken", p.targets[i], answerWithin)
	}
	for i, a := range replies {
		p.baseline[p.targets[i].String()] = a.found
	}
	return nil
}

// Expect takes a problem as one that stays when all is well again, such as what
// check says of a drill that was aborted for an hour.
func (p *Problems) Expect(code, subject string) {
	for _, t := range p.targets {
		p.baseline[t.String()] = append(p.baseline[t.String()], Finding{Code: code, Subject: subject})
	}
}

// Named waits until every replica that must name a problem does; after the bound
// what is not named is a violation. A bound of 0 asks once, and again if
// nothing is wrong but that replicas do not answer. It returns how long it took.
func (p *Problems) Named(ctx context.Context, within time.Duration, all ...Expectation) time.Duration {
	took := p.await(ctx, within, func(replies []answers) []Violation { return unnamed(p.targets, replies, all, time.Now()) })
	p.state.Lock()
	defer p.state.Unlock()
	p.naming = max(p.naming, took)
	return took
}

// Quiet waits until no replica finds anything that it had not found before; after
// the bound what is found is a violation. It returns how long it took.
func (p *Problems) Quiet(ctx context.Context, within time.Duration) time.Duration {
	took := p.await(ctx, within, func(replies []answers) []Violation { return noise(p.targets, replies, p.baseline, time.Now()) })
	p.state.Lock()
	defer p.state.Unlock()
	p.quieting = max(p.quieting, took)
	return took
}

// await asks until judge has nothing to say.
func (p *Problems) await(ctx context.Context, within time.Duration, judge func([]answers) []Violation) time.Duration {
	began := time.Now()
	all, err := newLines(p.targets)
	if err != nil {
		p.add(Violation{At: time.Now(), Where: "check", Expected: "replicas to ask", Found: err.Error()})
		return within
	}
	defer all.close()
	for {
		wrong := judge(p.ask(ctx, all))
		took := time.Since(began)
		if len(wrong) == 0 {
			return took
		}
		bound := within
		if !slices.ContainsFunc(wrong, func(v Violation) bool { return v.Found != noAnswer }) {
			bound = max(within, answerWithin) // the machine may have stood still
		}
		if took > bound || !sleep(ctx, 100*time.Millisecond) {
			p.add(wrong...)
			return took
		}
	}
}

// unnamed lists the expectations that are not met.
func unnamed(targets []Target, replies []answers, all []Expectation, now time.Time) []Violation {
	var out []Violation
	for i, t := range targets {
		for _, e := range all {
			if e.By(t) && !e.met(replies[i].found) {
				out = append(out, Violation{At: now, Where: t.String(), Expected: "check to name " + e.String(), Found: inWords(replies[i])})
			}
		}
	}
	return out
}

// noise lists what is found and is not in the baseline.
func noise(targets []Target, replies []answers, baseline map[string][]Finding, now time.Time) []Violation {
	var out []Violation
	for i, t := range targets {
		rest := slices.DeleteFunc(slices.Clone(replies[i].found), func(f Finding) bool { return slices.ContainsFunc(baseline[t.String()], f.same) })
		if len(rest) > 0 || !replies[i].ok {
			out = append(out, Violation{At: now, Where: t.String(), Expected: "a check that is quiet again", Found: inWords(answers{rest, replies[i].ok})})
		}
	}
	return out
}

func inWords(a answers) string {
	if !a.ok {
		return noAnswer
	}
	if len(a.found) == 0 {
		return "no problem"
	}
	var words []string
	for _, f := range a.found {
		words = append(words, f.String())
	}
	return strings.Join(words, "; ")
}

// Report implements [Checker].
func (p *Problems) Report() Report {
	p.state.Lock()
	defer p.state.Unlock()
	return p.into(Report{
		Checker: "check", Checked: count("answers", p.asked), Worst: seconds("named within", p.naming), More: []Figure{seconds("quiet within", p.quieting)},
	})
}
