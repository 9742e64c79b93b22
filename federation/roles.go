package federation

import (
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

// left stops the replica for good, once its region does not need it any more, and
// marks its data directory.
func (r *Replica) left() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaving == nil {
		return // it left already
	}
	leaving := r.leaving
	r.leaving = nil
	go func() {
		for end := time.Now().Add(leaveWithin); time.Now().Before(end) && !r.forgotten(); {
			time.Sleep(announceEvery)
		}
		close(leaving)
	}()
}

// forgotten reports whether the region no longer counts on this replica, or there
// is nobody left to.
func (r *Replica) forgotten() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unknown || len(r.siblings()) == 0
}
