package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/federator/federator/kube/link"
)

func (a *app) unlinkCmd() *cobra.Command {
	u := &link.Unlink{Now: time.Now, Progress: a.progress}
	var from string
	var yes, dryRun bool
	cmd := &cobra.Command{
		Annotations: map[string]string{instead: "region"},
		Use:         "unlink (--context CLUSTER | --region REGION) --from CLUSTER", Short: "Take a Kubernetes cluster out of its federation", Args: usage(cobra.NoArgs),
		Long: `Take the region of a cluster out of its federation, for good: its clients are sent
elsewhere, its pods are stopped, and a cluster that remains (--from) has the region
removed. What is going to be done, and which services are served there only, is shown
first. The disks are kept, but the region can come back only by joining anew.

Of a cluster that is gone, name the region instead of the context. With --uninstall
everything of federator is deleted there in the end, the disks and the zone in the
cluster's DNS included; the CustomResourceDefinitions stay. Doing it again is safe.`,
		Example: `  federator unlink --context eu-central --from us-west
  federator unlink --region eu-central --from us-west`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if len(a.reach.contexts) > 0 {
				if u.Cluster, err = a.reach.cluster(); err != nil {
					return err
				}
			}
			if u.From, err = a.reach.open(from); err != nil {
				return err
			}
			return a.unlink(cmd.Context(), u, yes, dryRun)
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "the context of a cluster that remains")
	f.StringVar(&u.Region, "region", "", "the region of a cluster that is gone or cannot be reached")
	f.BoolVar(&u.Uninstall, "uninstall", false, "then delete what is installed there, disks included")
	f.BoolVar(&u.Force, "force", false, "do not send clients elsewhere first, and remove it though its replicas still answer")
	f.DurationVar(&u.Drain, "drain", 30*time.Second, "how long clients have to go elsewhere")
	f.DurationVar(&u.Within, "within", 10*time.Minute, "how long the whole may take")
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.BoolVar(&dryRun, "dry-run", false, "say what would be done, and do nothing")
	before(cmd, func() error {
		switch {
		case len(a.reach.contexts) == 0 && u.Region == "":
			return errors.New("--context is missing: the cluster that leaves; or --region, if it is gone; see federator unlink --help")
		case from == "":
			return errors.New("--from is missing: the context of a cluster that remains; a federation of one cluster ends with its namespace; see federator unlink --help")
		case u.Uninstall && len(a.reach.contexts) == 0:
			return errors.New("--uninstall needs --context, to know where; see federator unlink --help")
		}
		return nil
	})
	return cmd
}

// unlink shows the plan, asks, and carries it out.
func (a *app) unlink(ctx context.Context, u *link.Unlink, yes, dryRun bool) error {
	problems, steps, err := u.Plan(ctx)
	if err != nil {
		return err
	}
	if err := a.hindrances(problems); err != nil {
		return err
	}
	what := u.Region
	if u.Cluster != nil {
		what = u.Cluster.Context
	}
	if len(steps) == 0 {
		return a.conclude(plan(what, steps, false), fmt.Sprintf("%s is not in the federation of %s; nothing is to be done", what, u.From.Context))
	}
	will := "will "
	if dryRun {
		will = "would "
	}
	for _, s := range steps {
		a.say(will + s)
	}
	if dryRun {
		return a.conclude(plan(what, steps, false), "")
	}
	if err := a.agree(yes, "Do that?"); err != nil {
		return err
	}
	if err := u.Run(ctx); err != nil {
		return err
	}
	return a.conclude(plan(what, steps, true), what+" is out of the federation")
}
