package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// The shape of a drill if nobody says otherwise.
const (
	defaultRamp      = 2 * time.Minute
	defaultHold      = 5 * time.Minute
	defaultReturn    = time.Minute
	defaultObjective = 5 * time.Second
)

func lastingFor(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

// startFlags describe a drill.
type startFlags struct {
	scopeFlags
	id, reason              string
	ramp, hold, back        time.Duration
	objective               time.Duration
	alarmURLs, alarmQueries []string
	prometheus              string
	alarmMin, alarmMax      []string
	force                   bool
}

func (a *app) drillStartCmd() *cobra.Command {
	var f startFlags
	var wait bool
	cmd := &cobra.Command{
		Use: "start --evacuate REGION[/ZONE]", Short: "Begin a drill, unless its plan is unsafe", Args: usage(cobra.NoArgs),
		Long: `Begin a drill. The regions vote; with a majority traffic leaves over --ramp, stays
away for --hold, and comes back over --return. Whatever happens, it ends by itself
in every region, and at once if a safety rule would be broken, a gate is closed or
an alarm is not good.

With --wait the exit code is 0 if it ran to its end and met its objective, 3 if it
missed it, and 1 if it ended in any other way.`,
		Example: "  federator drill start --evacuate us-west --ramp 2m --hold 5m --return 1m --objective 5s --wait\n" +
			"  federator drill start --isolate eu-central --hold 2m --reason \"quarterly practice\"",
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := f.spec(cmd)
			if err != nil {
				return usageError{err}
			}
			var begun *pb.DrillInfo
			if err := a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) (err error) {
				begun, err = agent.StartDrill(ctx, &pb.StartDrillRequest{Spec: spec})
				return err
			}); err != nil {
				return err
			}
			return a.begun(cmd.Context(), begun, wait)
		},
	}
	f.scopeFlags.add(cmd)
	f.add(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "follow it to its end")
	return cmd
}

func (f *startFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.id, "id", "", "the name of the drill (default REGION-DATE-TIME-xxxx)")
	flags.DurationVar(&f.ramp, "ramp", defaultRamp, "over how long traffic leaves, in steps of 5 %; not for --isolate")
	flags.DurationVar(&f.hold, "hold", defaultHold, "for how long it stays away")
	flags.DurationVar(&f.back, "return", defaultReturn, "over how long it comes back; not for --isolate")
	flags.DurationVar(&f.objective, "objective", defaultObjective, "for how long after the ramp answers may still name the scope; 0 for any time")
	flags.StringArrayVar(&f.alarmURLs, "alarm-url", nil, "NAME=URL that must answer with 2xx all the while, else the drill ends; repeatable")
	flags.StringArrayVar(&f.alarmQueries, "alarm-query", nil, "NAME=PROMQL whose value must stay within --alarm-min and --alarm-max; repeatable")
	flags.StringVar(&f.prometheus, "alarm-prometheus", "", "the URL of the Prometheus that is asked for --alarm-query")
	flags.StringArrayVar(&f.alarmMin, "alarm-min", nil, "NAME=NUMBER, the least that is good; repeatable")
	flags.StringArrayVar(&f.alarmMax, "alarm-max", nil, "NAME=NUMBER, the most that is good; repeatable")
	flags.StringVar(&f.reason, "reason", "", "why, for the audit trail and the report")
	flags.BoolVar(&f.force, "force", false, "start it although its plan is unsafe; this is recorded, and safety rules then do not end it")
}

// spec is the drill as the agent takes it.
func (f *startFlags) spec(cmd *cobra.Command) ([]byte, error) {
	d, err := f.drill()
	if err != nil {
		return nil, err
	}
	if d.Kind == catalog.DrillIsolate { // it is at once
		for _, name := range []string{"ramp", "return"} {
			if cmd.Flags().Changed(name) {
				return nil, fmt.Errorf("a region is isolated at once: leave --%s out", name)
			}
		}
		f.ramp, f.back = 0, 0
		if !cmd.Flags().Changed("objective") {
			f.objective = 0
		}
	}
	d.ID, d.Reason, d.Forced, d.Objective = f.id, f.reason, f.force, catalog.Duration(f.objective)
	d.Shape = catalog.Shape{Ramp: catalog.Duration(f.ramp), Hold: catalog.Duration(f.hold), Return: catalog.Duration(f.back)}
	if d.Alarms, err = f.alarms(); err != nil {
		return nil, err
	}
	return json.Marshal(d)
}

// alarms reads the flags about alarms.
func (f *startFlags) alarms() ([]catalog.Alarm, error) {
	var out []catalog.Alarm
	for _, given := range f.alarmURLs {
		name, url, ok := strings.Cut(given, "=")
		if !ok {
			return nil, fmt.Errorf("--alarm-url %q: expected NAME=URL", given)
		}
		out = append(out, catalog.Alarm{Name: name, URL: url})
	}
	for _, given := range f.alarmQueries {
		name, query, ok := strings.Cut(given, "=")
		if !ok {
			return nil, fmt.Errorf("--alarm-query %q: expected NAME=PROMQL", given)
		}
		out = append(out, catalog.Alarm{Name: name, Query: query, Prometheus: f.prometheus})
	}
	for _, bound := range []struct {
		flag  string
		given []string
		of    func(*catalog.Alarm) **float64
	}{
		{"--alarm-min", f.alarmMin, func(a *catalog.Alarm) **float64 { return &a.Min }},
		{"--alarm-max", f.alarmMax, func(a *catalog.Alarm) **float64 { return &a.Max }},
	} {
		for _, given := range bound.given {
			if err := setBound(out, bound.flag, given, bound.of); err != nil {
				return nil, err
			}
		}
	}
	for _, alarm := range out {
		if err := catalog.ValidateAlarm(alarm); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func setBound(alarms []catalog.Alarm, flag, given string, of func(*catalog.Alarm) **float64) error {
	name, text, ok := strings.Cut(given, "=")
	v, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil {
		return fmt.Errorf("%s %q: expected NAME=NUMBER", flag, given)
	}
	for i := range alarms {
		if alarms[i].Name == name && alarms[i].Query != "" {
			*of(&alarms[i]) = &v
			return nil
		}
	}
	return fmt.Errorf("%s %q: expected the name of an --alarm-query", flag, given)
}

// begun says that a drill began, and follows it if asked to.
func (a *app) begun(ctx context.Context, d *pb.DrillInfo, wait bool) error {
	if !wait {
		return a.print(d, func(p *printer) {
			p.line("drill %s has begun: %s of %s; the regions vote", d.GetId(), kindNoun(d.GetKind()), d.GetScope())
			p.line("watch it: federator drill status %s", d.GetId())
			p.line("end it:   federator drill stop %s", d.GetId())
		})
	}
	return a.follow(ctx, d)
}

var errDrill = errors.New("the drill did not run to its end")
