package inpod

import (
	"context"
	"errors"
	"time"
)

const stillThere = "what was needed to become a member is still there; trying again while this replica runs"

// clear notes that the pod is a member, and removes what it needed to become one.
func (r *runner) clear(ctx context.Context) error {
	var errs []error
	for _, step := range []func(context.Context) error{r.Pod.Founded, r.Pod.Settled} {
		short, cancel := context.WithTimeout(ctx, callTimeout)
		errs = append(errs, step(short))
		cancel()
	}
	return errors.Join(errs...)
}

// clearLater does what the start of the replica could not, however long that takes, and
// logs what is in the way when that changes. It must be done: while the word that this
// pod waits is there, a member that is silent for a while has lost its disk as far as
// the others know, and is taken out of its region; and without the note that the trust
// domain is founded, a disk that is lost founds another.
func (r *runner) clearLater(ctx context.Context) {
	if r.uncleared == nil {
		return
	}
	said := r.uncleared.Error()
	err := again(ctx, func() error { return r.clear(ctx) }, func(err error, _ time.Duration) {
		if err.Error() != said && ctx.Err() == nil {
			said = err.Error()
			r.Log.Warn(stillThere, "error", err)
		}
	})
	if err == nil {
		r.Log.Info("what was needed to become a member is gone")
	}
}
