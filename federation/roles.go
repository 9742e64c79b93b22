package federation

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// role is what an operator of the name may do now, as any region has granted it.
func (r *Replica) role(name string) (catalog.Role, bool) {
	for _, o := range r.catalog.Objects() {
		if o.Kind != catalog.KindOperator || o.Name != name || o.Deleted {
			continue
		}
		var op catalog.Operator
		if json.Unmarshal(o.Spec, &op) != nil {
			return "", false
		}
		return op.Role, true
	}
	return "", false
}

// ErrLeft ends the run of a replica that has left its region.
var ErrLeft = errors.New("this replica has left its region")

// leaveWithin bounds how long a replica that leaves goes on serving its region's
// Raft: until the others have agreed that it does not vote, they may need it.
const leaveWithin = 30 * time.Second

// markLeft marks the data directory of a replica that is no member any more.
func (r *Replica) markLeft() {
	if err := r.dir.markLeft(); err != nil { // leave tries again
		r.log.Error("the data directory could not be marked: do not start this replica again", "error", err)
	}
}

// left marks the data directory, and has leave end the run.
func (r *Replica) left() {
	r.leftOnce.Do(func() {
		r.markLeft()
		close(r.leaving)
	})
}

// leave stops a replica that has left, once its region does not need it any more.
func (r *Replica) leave(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-r.leaving:
	}
	for end := time.Now().Add(leaveWithin); time.Now().Before(end) && !r.forgotten(); {
		if !sleep(ctx, announceEvery) {
			break
		}
	}
	return errors.Join(ErrLeft, r.dir.markLeft())
}

// forgotten reports whether the region no longer counts on this replica, or there
// is nobody left to.
func (r *Replica) forgotten() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unknown || len(r.siblings()) == 0
}
