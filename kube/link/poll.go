package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// pace is the pause between two looks.
const pace = time.Second

// again is what is waited for after a step: the next look.
const again = "the next look"

// poll looks until nothing is waited for, an error, or the end of ctx. What look waits
// for is words to go on with after "waiting for"; progress is told whenever it changes.
func poll(ctx context.Context, look func(context.Context) (waiting string, err error), progress func(string)) error {
	last := ""
	t := time.NewTicker(pace)
	defer t.Stop()
	for {
		waiting, err := look(ctx)
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return fmt.Errorf("stopped while waiting for %s; the same command goes on from here", cmp.Or(waiting, last, "the first look"))
		case ctx.Err() != nil && last != "":
			return fmt.Errorf("not within the time that was given: still waiting for %s; the same command goes on from here", last)
		case err != nil:
			return err
		case waiting == "":
			return nil
		case waiting != last && waiting != again:
			progress("waiting for " + waiting)
			last = waiting
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}
