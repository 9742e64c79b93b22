package state

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// Recover makes this replica the only one of a region that lost its quorum for
// good. It works on the data directory of a stopped replica, keeps everything the
// replica has on disk (also what a majority never confirmed), forgets all other
// replicas, which must join anew with empty directories, drops tokens and leases,
// and leaves the region waiting for a new epoch ([SetEpoch]).
func Recover(dir string, opts OfflineOptions) (About, error) {
	conf := (&Options{RaftID: opts.RaftID}).offlineConfig()
	d, err := openDisk(dir, conf.Logger)
	if err != nil {
		return About{}, err
	}
	m := &recovery{machine: newMachine(Protocol), opts: opts}
	only := raft.Configuration{Servers: []raft.Server{server(opts.RaftID, raft.Voter)}}
	err = raft.RecoverCluster(conf, m, d.log, d.log, d.snaps, discardTransport(), only)
	if err != nil {
		err = fmt.Errorf("recover the region in %s: %w", dir, errors.Join(m.halted, err))
	}
	return m.state.about, errors.Join(err, d.close())
}

// recovery is a machine whose snapshot is of the region starting over.
type recovery struct {
	*machine
	opts OfflineOptions
}

// Snapshot changes the state to that of a recovered region and copies it.
func (r *recovery) Snapshot() (raft.FSMSnapshot, error) {
	if r.halted == nil && r.state.about.Epoch == 0 {
		return nil, ErrNotFounded.withf("this replica never received the state of its region: recover with another one")
	}
	if r.halted == nil {
		if err := r.state.startOver(r.opts); err != nil {
			return nil, err
		}
		// What this replica has on its disk counts; the others' newer writes win.
		r.state.about.ObjectsSuspect = false
	}
	return r.machine.Snapshot()
}

func (o *Options) offlineConfig() *raft.Config {
	o.setDefaults()
	return o.raftConfig(nil)
}
