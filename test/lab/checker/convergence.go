package checker

import (
	"context"
	"fmt"
	"time"

	"github.com/federator/federator/peering/pb"
)

// Convergence checks that after a fault has healed all replicas come to see what
// is true, and the same as each other: endpoints, services, and policies with
// their versions.
type Convergence struct {
	targets []Target
	ledger
	rounds int
	worst  time.Duration
}

// NewConvergence returns the checker.
func NewConvergence(targets []Target) *Convergence { return &Convergence{targets: targets} }

// Run implements [Checker]. There is nothing to watch while a fault lasts.
func (c *Convergence) Run(ctx context.Context) { <-ctx.Done() }

// Await looks until every replica sees the truth, or the bound is over: then
// what still differs is a violation. It returns how long it took. Call it when
// the scenario has healed everything.
func (c *Convergence) Await(ctx context.Context, truth Truth, bound time.Duration) time.Duration {
	began := time.Now()
	c.rounds++
	all, err := newLines(c.targets)
	if err != nil {
		c.add(Violation{At: time.Now(), Where: "convergence", Expected: "replicas to ask", Found: err.Error()})
		return bound
	}
	defer all.close()
	for {
		wrong := look(ctx, all, truth)
		took := time.Since(began)
		c.worst = max(c.worst, took)
		if len(wrong) == 0 {
			return took
		}
		if took > bound || !sleep(ctx, 100*time.Millisecond) {
			c.add(wrong...)
			return took
		}
	}
}

// look compares all replicas once.
func look(ctx context.Context, all lines, truth Truth) []Violation {
	names, views := make([]string, len(all)), make([]View, len(all))
	errs := all.each(func(i int, l *line) error {
		names[i] = l.target.String()
		return l.call(ctx, 10*time.Second, func(ctx context.Context, agent pb.OperatorClient) (err error) {
			views[i], err = viewOf(ctx, agent)
			return err
		})
	})
	var out []Violation
	for i, err := range errs {
		if err != nil {
			out = append(out, Violation{At: time.Now(), Where: names[i], Expected: "an answer", Found: err.Error()})
		}
	}
	if len(out) > 0 {
		return out
	}
	return differences(truth, names, views, time.Now())
}

// viewOf asks a replica for all it sees.
func viewOf(ctx context.Context, agent pb.OperatorClient) (View, error) {
	out := View{}
	services, err := agent.Services(ctx, &pb.ServicesRequest{})
	if err != nil {
		return nil, err
	}
	for _, s := range services.GetServices() {
		list, err := agent.Endpoints(ctx, &pb.EndpointsRequest{Service: s.GetName()})
		if err != nil {
			return nil, err
		}
		for _, e := range list.GetEndpoints() {
			health := e.GetHealth()
			if e.GetStale() {
				health += ", stale"
			}
			out[endpointKey(s.GetName(), e.GetRegion(), e.GetAddress())] = health
		}
	}
	policies, err := agent.ListPolicies(ctx, &pb.ListPoliciesRequest{})
	if err != nil {
		return nil, err
	}
	for _, p := range policies.GetPolicies() {
		m := p.GetMeta()
		out[policyKey(p.GetName())] = fmt.Sprintf("%s%s%d %d %s", p.GetSpec(), versionMark, m.GetGeneration(), m.GetWritten().AsTime().UnixNano(), m.GetRegion())
	}
	return out, nil
}

// Report implements [Checker].
func (c *Convergence) Report() Report {
	return c.into(Report{Checker: "convergence", Checked: count("times awaited", c.rounds), Worst: seconds("longest", c.worst)})
}
