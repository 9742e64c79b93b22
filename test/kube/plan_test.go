//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/federator/federator/kube/link"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/controlplane"
)

// unheard are the codes of what is in the way of a command for a moment, if a replica or
// an API server does not answer in time, and not what is wrong with what it was asked.
func unheard() []string {
	return []string{"agent-silent", "agent-not-ready", "isolated", "api-unreachable"}
}

// planner is what says what is in the way, and what it would do.
type planner interface {
	Plan(context.Context) (problems []*pb.Problem, steps []string)
}

// parting is an Unlink as a planner: what it cannot see is in the way, too.
type parting struct{ *link.Unlink }

func (p parting) Plan(ctx context.Context) ([]*pb.Problem, []string) {
	problems, steps, err := p.Unlink.Plan(ctx)
	if err != nil {
		problems = append(problems, &pb.Problem{Severity: "error", Code: unheard()[0], Found: err.Error()})
	}
	return problems, steps
}

// planned is the first plan of a planner for which everybody was heard.
func planned(t *testing.T, p planner) (problems []*pb.Problem, steps []string) {
	t.Helper()
	must(t, controlplane.Until(t.Context(), late, "a plan for which everybody was heard", func(ctx context.Context) error {
		problems, steps = p.Plan(ctx)
		for _, one := range link.Severe(problems) {
			if slices.Contains(unheard(), one.GetCode()) {
				return fmt.Errorf("found %v", one)
			}
		}
		return nil
	}))
	return problems, steps
}
