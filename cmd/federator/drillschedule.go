package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/federation/drill/schedulefile"
	"github.com/federator/federator/peering/pb"
)

func (a *app) drillScheduleCmd() *cobra.Command {
	cmd := parent("schedule", "Drills that begin by themselves, for practice: apply, list, run and delete")
	cmd.AddCommand(a.scheduleApplyCmd(), a.scheduleListCmd(), a.scheduleRunCmd(), a.scheduleDeleteCmd())
	return cmd
}

func (a *app) scheduleApplyCmd() *cobra.Command {
	var path string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Write the schedules of a file", Args: usage(cobra.NoArgs),
		Example: `  federator drill schedule apply -f - <<END
  kind: DrillSchedule
  name: tuesdays
  spec:
    days: [tue]
    at: ["10:00"]            # UTC
    kind: evacuate
    scope: {region: us-west}
    shape: {ramp: 2m, hold: 10m, return: 2m}
    objective: 5s
  END`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := a.readFile(path)
			if err != nil {
				return err
			}
			schedules, err := schedulefile.Parse(data)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			return a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) error {
				return a.applySchedules(ctx, agent, schedules, dryRun)
			})
		},
	}
	cmd.Flags().StringVarP(&path, "file", "f", "", "the file, - for standard input")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would change")
	required(cmd, "file")
	return cmd
}

// applySchedules writes schedules one by one and prints what became of each, also
// of those before one that failed.
func (a *app) applySchedules(ctx context.Context, agent pb.OperatorClient, schedules []schedulefile.Named, dryRun bool) error {
	var done []applied
	var failed error
	for _, s := range schedules {
		spec, err := json.Marshal(s.Spec)
		if err != nil {
			return err
		}
		r, err := agent.ApplySchedule(ctx, &pb.ApplyScheduleRequest{Name: s.Name, Spec: spec, DryRun: dryRun})
		if err != nil {
			failed = fmt.Errorf("schedule %s: %w", s.Name, a.reach.plain(err))
			break
		}
		done = append(done, applied{s.Name, r.GetAction(), r.GetWarnings()})
	}
	if a.output == "json" {
		if err := a.printJSON(map[string]any{"schedules": done}); err != nil {
			return err
		}
		return failed
	}
	a.printApplied("schedule", done)
	return failed
}

func (a *app) scheduleListCmd() *cobra.Command {
	return a.ask("list", "List the schedules, when each is due, and how its last drill went", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			r, err := agent.ListSchedules(ctx, &pb.ListSchedulesRequest{})
			return r, func(p *printer) {
				p.row("SCHEDULE", "SCOPE", "COORDINATED BY", "NEXT", "LAST DRILL", "OUTCOME")
				for _, s := range r.GetSchedules() {
					next := moment(s.GetNext())
					if s.GetSuspended() {
						next = "suspended"
					}
					p.row(s.GetName(), s.GetScope(), s.GetRegion(), next, s.GetLastDrill(), s.GetLastOutcome())
				}
			}, err
		})
}

func (a *app) scheduleRunCmd() *cobra.Command {
	var force, wait bool
	cmd := &cobra.Command{
		Use: "run NAME", Short: "Begin the drill of a schedule now", Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var begun *pb.DrillInfo
			if err := a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) (err error) {
				begun, err = agent.RunSchedule(ctx, &pb.RunScheduleRequest{Name: args[0], Force: force})
				return err
			}); err != nil {
				return err
			}
			return a.begun(cmd.Context(), begun, wait)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "start it although its plan is unsafe; this is recorded")
	cmd.Flags().BoolVar(&wait, "wait", false, "follow it to its end")
	return cmd
}

func (a *app) scheduleDeleteCmd() *cobra.Command {
	return a.ask("delete NAME", "Delete a schedule; a drill of it that runs goes on", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.DeleteSchedule(ctx, &pb.DeleteScheduleRequest{Name: args[0]})
			return r, said("schedule %s is deleted", args[0]), err
		})
}
