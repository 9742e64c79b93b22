package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/federator/federator/peering/pb"
)

const (
	// followEvery is how often a drill that is followed is looked at.
	followEvery = 500 * time.Millisecond
	// silenceFor is how long no agent may answer while a drill is followed: it may
	// be the one that is restarted.
	silenceFor = 30 * time.Second
	// samplesWithin is how long after a drill the regions have told what they
	// answered.
	samplesWithin = 90 * time.Second
)

// follow tells what happens in a drill until it is over and returns an error
// unless it went well.
func (a *app) follow(ctx context.Context, d *pb.DrillInfo) error {
	t := teller{say: func(format string, args ...any) { fmt.Fprintf(a.out, format+"\n", args...) }}
	if a.output == "json" {
		t.say = func(string, ...any) {}
	}
	t.say("drill %s: %s of %s; Ctrl-C leaves it running, \"federator drill stop %s\" ends it", d.GetId(), kindNoun(d.GetKind()), d.GetScope(), d.GetId())
	answered := time.Now()
	for t.tell(d); d.GetOutcome() == ""; t.tell(d) {
		if err := pause(ctx, followEvery); err != nil {
			return err
		}
		next, err := a.drillNow(ctx, d.GetId())
		if err == nil {
			d, answered = next, time.Now()
		} else if time.Since(answered) > silenceFor {
			return err
		}
	}
	if a.output == "json" {
		if err := a.print(d, nil); err != nil {
			return err
		}
	}
	if d.GetOutcome() != "succeeded" {
		return fmt.Errorf("%w: %s", errDrill, endOf(d))
	}
	return a.objective(ctx, d.GetId(), t.say)
}

func (a *app) drillNow(ctx context.Context, id string) (d *pb.DrillInfo, err error) {
	err = a.call(ctx, func(ctx context.Context, agent pb.OperatorClient) (err error) {
		d, err = agent.GetDrill(ctx, &pb.GetDrillRequest{Id: id})
		return err
	})
	return d, err
}

// objective waits until the regions have told what they answered, and says
// whether the objective was met.
func (a *app) objective(ctx context.Context, id string, say func(string, ...any)) error {
	verdict := ""
	for deadline := time.Now().Add(samplesWithin); ; {
		err := a.call(ctx, func(ctx context.Context, agent pb.OperatorClient) error {
			r, err := agent.ReportDrill(ctx, &pb.ReportDrillRequest{Id: id, Format: "json"})
			verdict = r.GetVerdict()
			return err
		})
		if err == nil && verdict != "unproven" || time.Now().After(deadline) {
			if err != nil {
				return err
			}
			break
		}
		if err := pause(ctx, followEvery); err != nil {
			return err
		}
	}
	say("objective: %s; read on: federator drill report %s", verdict, id)
	if verdict == "failed" {
		return errProblems
	}
	return nil
}

// teller tells what is new of a drill.
type teller struct {
	say   func(string, ...any)
	told  []string
	phase string
}

// once says a line unless it was said before.
func (t *teller) once(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if !slices.Contains(t.told, line) {
		t.told = append(t.told, line)
		t.say("%s", line)
	}
}

func (t *teller) tell(d *pb.DrillInfo) {
	for _, b := range d.GetBallots() {
		switch b.GetVote() {
		case "granted":
			t.once("  %s grants it", b.GetRegion())
		case "refused":
			t.once("  %s refuses it: %s", b.GetRegion(), b.GetReason())
		}
	}
	if d.GetState() == "running" && d.GetPhase() != t.phase {
		t.phase = d.GetPhase()
		t.say("%s: phase %s, another %s to the end", span(d.GetElapsed()), t.phase, or(span(d.GetRemaining()), "0s"))
	}
	for _, b := range d.GetBallots() {
		for _, ack := range b.GetAcks() {
			t.once("  %s: %s is in its answers", b.GetRegion(), ack.GetPhase())
		}
		if b.GetEnd() != "" {
			t.once("  %s wants it to end, %s", b.GetRegion(), b.GetEnd())
		}
	}
	if d.GetIgnored() != "" {
		t.once("  set aside %s", d.GetIgnored())
	}
	if d.GetOutcome() != "" {
		t.once("ended: %s", endOf(d))
	}
}

func endOf(d *pb.DrillInfo) string {
	if d.GetDetail() == "" {
		return d.GetOutcome()
	}
	return d.GetOutcome() + ", " + d.GetDetail()
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
