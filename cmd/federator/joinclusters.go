package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/federator/federator/deploy"
	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/kube/link"
	"github.com/federator/federator/peering/pb"
)

// joinFlags are those of join that are about clusters.
type joinFlags struct {
	to      string
	install bool
	dryRun  bool
	within  time.Duration
	values  deploy.Values
}

// flags adds them, and returns their names.
func (j *joinFlags) flags(f *pflag.FlagSet) []string {
	mine := pflag.NewFlagSet("", pflag.ContinueOnError)
	mine.StringVar(&j.to, "to", "", "the context of a cluster of the federation")
	mine.BoolVar(&j.install, "install", false, "install federator in the cluster of --context first, if it is not there")
	mine.BoolVar(&j.dryRun, "dry-run", false, "say what is in the way and what would be done, and do nothing")
	mine.DurationVar(&j.within, "within", 10*time.Minute, "how long the whole may take")
	podFlags(mine, &j.values)
	var names []string
	mine.VisitAll(func(g *pflag.Flag) { names = append(names, g.Name) })
	f.AddFlagSet(mine)
	for _, name := range []string{"replicas", "image", "storage-class", "ephemeral", "expose"} {
		f.Lookup(name).Usage = "with --install: " + f.Lookup(name).Usage
	}
	for _, name := range []string{"image", "expose"} {
		g := f.Lookup(name)
		g.Usage, g.DefValue = g.Usage+" (default: as in --to)", ""
	}
	return names
}

// joinClusters joins a cluster to the federation of another.
func (a *app) joinClusters(cmd *cobra.Command, j joinFlags) error {
	ctx := cmd.Context()
	joining, err := a.reach.cluster()
	if err != nil {
		return err
	}
	to, err := a.reach.open(j.to)
	if err != nil {
		return err
	}
	for _, name := range []string{"replicas", "image", "storage-class", "ephemeral", "expose"} {
		if !j.install && cmd.Flags().Changed(name) {
			return usageError{fmt.Errorf("--%s is for what is installed: --install is missing", name)}
		}
	}
	task := &link.Join{
		Cluster: joining, To: to, Within: j.within, Now: time.Now, Progress: a.progress,
		Wanted: link.Wanted{Install: j.install, Region: j.values.Region, Cluster: j.values.Cluster},
	}
	if j.install {
		if err := j.installation(ctx, cmd, task); err != nil {
			return err
		}
	}
	problems, steps := task.Plan(ctx)
	if err := a.hindrances(problems); err != nil {
		return err
	}
	if j.dryRun {
		for _, s := range steps {
			a.say("would " + s)
		}
		end := ""
		if len(steps) == 0 {
			end = "would do nothing: they are linked"
		}
		return a.conclude(plan(joining.Context, steps, false), end)
	}
	result, err := task.Run(ctx)
	if err != nil {
		return err
	}
	return a.printLinked(result)
}

// installation fills in what is to be installed, unless something is already: what is not said is as in the other
// cluster, and the region is named like the context.
func (j *joinFlags) installation(ctx context.Context, cmd *cobra.Command, task *link.Join) error {
	is := link.Installed(ctx, task.Cluster)
	if is.Installed {
		return j.differs(cmd, &is)
	}
	v := j.values
	v.Namespace = task.Cluster.Namespace
	name, err := regionOf(v.Region, task.Cluster)
	if err != nil {
		return err
	}
	v.Region = name
	if v.Cluster == "" {
		v.Cluster = v.Region
	}
	like := link.Installed(ctx, task.To)
	if !cmd.Flags().Changed("image") && like.Image != "" {
		v.Image = like.Image
	}
	if !cmd.Flags().Changed("expose") && like.Expose != "" {
		v.Expose = like.Expose
	}
	if task.Manifests, err = deploy.Render(v); err != nil {
		return usageError{err}
	}
	task.Wanted.Image, task.Wanted.Expose, task.Wanted.Region, task.Wanted.Cluster = v.Image, v.Expose, v.Region, v.Cluster
	task.Definitions, err = deploy.Definitions()
	return err
}

// differs says what was said of an installation that is there already, and is another.
func (j *joinFlags) differs(cmd *cobra.Command, is *link.Facts) error {
	for flag, said := range map[string][2]string{"image": {j.values.Image, is.Image}, "expose": {j.values.Expose, is.Expose}} {
		if cmd.Flags().Changed(flag) && said[0] != said[1] {
			return usageError{fmt.Errorf("%s is installed with --%s %s, and a join does not change that; federator install --context %[1]s --%[2]s %[4]s does", is.Context, flag, said[1], said[0])}
		}
	}
	return nil
}

// regionOf is the region that was named, else the one that the context's name is.
func regionOf(given string, c *laptop.Cluster) (string, error) {
	if given != "" {
		return given, nil
	}
	if err := catalog.ValidateLabel("region", c.Context); err != nil {
		return "", usageError{fmt.Errorf("--region is missing, and the context's name %q cannot be a region's", c.Context)}
	}
	return c.Context, nil
}

// planned is what a command is going to do to a cluster, or would, or has done.
type planned struct {
	Context string   `json:"context"`
	Steps   []string `json:"steps"`
	Done    bool     `json:"done"`
}

func plan(context string, steps []string, done bool) planned {
	return planned{context, append([]string{}, steps...), done} // none is a list, too
}

// say writes a line for people. Where programs read the output, they are told at the
// end.
func (a *app) say(line string) {
	w := a.out
	if a.output == "json" {
		w = a.err
	}
	fmt.Fprintln(w, line)
}

// conclude writes the end of what was said, if there is one, or the whole as JSON.
func (a *app) conclude(answer any, line string) error {
	if a.output == "json" {
		return a.printJSON(answer)
	}
	if line == "" {
		return nil
	}
	_, err := fmt.Fprintln(a.out, line)
	return err
}

// progress writes a line about what goes on.
func (a *app) progress(line string) { fmt.Fprintln(a.err, line) }

// hindrances prints problems to standard error; an error if one of them is severe.
func (a *app) hindrances(problems []*pb.Problem) error {
	for _, p := range problems {
		if p.GetSeverity() == "info" {
			continue
		}
		fmt.Fprintf(a.err, "%s: %s (%s)\n  expected: %s\n  found:    %s\n  do:       %s\n", strings.ToUpper(p.GetSeverity()), p.GetSubject(), p.GetCode(),
			p.GetExpected(), p.GetFound(), strings.ReplaceAll(p.GetAction(), "\n", "\n            "))
	}
	if n := len(link.Severe(problems)); n > 0 {
		return fmt.Errorf("%d thing(s) in the way; nothing was changed", n)
	}
	return nil
}

func (a *app) printLinked(r link.Result) error {
	if a.output == "json" {
		return a.printJSON(r)
	}
	how := "is linked"
	if r.Already {
		how = "was linked already"
	}
	_, err := fmt.Fprintf(a.out, "%s (region %s) %s with %s (region %s) in %s; it knows %s\nnext: federator dns install --context %s\n",
		r.Context, r.Region, how, r.To, r.ToRegion, r.TrustDomain, strings.Join(r.Regions, ", "), r.Context)
	return err
}

// agree asks for a yes on the terminal, unless it was given before.
func (a *app) agree(yes bool, question string) error {
	if yes {
		return nil
	}
	fmt.Fprint(a.err, question+" [y/N] ")
	var answer string
	_, err := fmt.Fscanln(a.in, &answer)
	if err != nil || !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes") {
		return errors.New("nothing was changed; say --yes to go on without a question")
	}
	return nil
}
