package federation

import (
	"encoding/json"
	"errors"

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

// left stops the replica for good: it is no longer a member, and its data
// directory says so.
func (r *Replica) left() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaving == nil {
		return // it left already
	}
	close(r.leaving)
	r.leaving = nil
}
