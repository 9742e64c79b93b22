package state

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// crowded is a log that has no room when it is told so.
type crowded struct {
	raft.LogStore
	full bool
}

func (c *crowded) StoreLog(e *raft.Log) error { return c.StoreLogs([]*raft.Log{e}) }

func (c *crowded) StoreLogs(entries []*raft.Log) error {
	if c.full {
		return errNoRoom
	}
	return c.LogStore.StoreLogs(entries)
}

func entry(index, term uint64) *raft.Log {
	return &raft.Log{Index: index, Term: term, Type: raft.LogNoop}
}

// follower starts a Raft server that follows whoever sends it entries through the
// transport that is returned.
func follower(t *testing.T, log raft.LogStore) *raft.InmemTransport {
	t.Helper()
	config := raft.DefaultConfig()
	config.LocalID = "follower"
	config.Logger = hclog.New(&hclog.LoggerOptions{Output: io.Discard})
	config.HeartbeatTimeout, config.ElectionTimeout = time.Hour, time.Hour
	_, own := raft.NewInmemTransport("follower")
	_, leader := raft.NewInmemTransport("leader")
	leader.Connect("follower", own)
	stable, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	servers := raft.Configuration{Servers: []raft.Server{{ID: "follower", Address: "follower"}, {ID: "leader", Address: "leader"}}}
	if err := raft.BootstrapCluster(config, log, stable, snapshots, own, servers); err != nil {
		t.Fatal(err)
	}
	r, err := raft.NewRaft(config, &raft.MockFSM{}, log, stable, snapshots, own)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Shutdown().Error(); err != nil {
			t.Error(err)
		}
		_ = own.Close()
		_ = leader.Close()
	})
	return leader
}

// send has the follower append entries after the one at (previous, its term), and
// reports whether it did.
func send(t *testing.T, leader *raft.InmemTransport, term, previous, previousTerm uint64, entries ...*raft.Log) bool {
	t.Helper()
	var answer raft.AppendEntriesResponse
	err := leader.AppendEntries("follower", "follower", &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("leader"), Addr: []byte("leader")},
		Term:      term, PrevLogEntry: previous, PrevLogTerm: previousTerm, Entries: entries,
	}, &answer)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Success
}

func TestAFollowerWhoseLogWasFullAfterItsTailWasCutOffGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		wrap func(raft.LogStore) raft.LogStore
		want bool
	}{
		"Raft alone does not": {func(s raft.LogStore) raft.LogStore { return s }, false},
		"with its tail kept":  {func(s raft.LogStore) raft.LogStore { return &keptTail{LogStore: s} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			disk := &crowded{LogStore: raft.NewInmemStore()}
			log := c.wrap(disk)
			leader := follower(t, log)
			if !send(t, leader, 2, 1, 1, entry(2, 2), entry(3, 2), entry(4, 2)) {
				t.Fatal("expected the follower to take the first entries")
			}
			disk.full = true
			if send(t, leader, 3, 2, 2, entry(3, 3)) {
				t.Fatal("expected the follower to refuse what it cannot store")
			}
			if send(t, leader, 3, 2, 2, entry(3, 3)) {
				t.Fatal("expected it to refuse it again")
			}
			disk.full = false
			if got := send(t, leader, 3, 2, 2, entry(3, 3), entry(4, 3)); got != c.want {
				t.Fatalf("with room again, took the entries: %v, want %v", got, c.want)
			}
			if c.want {
				holds(t, disk, entry(3, 3), entry(4, 3))
			}
		})
	}
}

// holds checks the last entries of a log.
func holds(t *testing.T, log raft.LogStore, want ...*raft.Log) {
	t.Helper()
	for _, w := range want {
		var e raft.Log
		if err := log.GetLog(w.Index, &e); err != nil || e.Term != w.Term {
			t.Errorf("entry %d: term %d, %v; want term %d", w.Index, e.Term, err, w.Term)
		}
	}
	if last, err := log.LastIndex(); err != nil || last != want[len(want)-1].Index {
		t.Errorf("last entry %d, %v; want %d", last, err, want[len(want)-1].Index)
	}
}

// cut returns a log of the entries 1 to 4 of term 1 whose tail from 3 on was cut
// off, and to which nothing could be written since.
func cut(t *testing.T) (*keptTail, *crowded) {
	t.Helper()
	disk := &crowded{LogStore: raft.NewInmemStore()}
	log := &keptTail{LogStore: disk}
	if err := log.StoreLogs([]*raft.Log{entry(1, 1), entry(2, 1), entry(3, 1), entry(4, 1)}); err != nil {
		t.Fatal(err)
	}
	if err := log.DeleteRange(3, 4); err != nil {
		t.Fatal(err)
	}
	disk.full = true
	if log.StoreLog(entry(3, 2)) == nil {
		t.Fatal("expected no room")
	}
	disk.full = false
	return log, disk
}

func TestATailThatCouldNotBeReplacedIsPutBackWhenItIsAskedFor(t *testing.T) {
	log, disk := cut(t)
	holds(t, disk, entry(2, 1))
	disk.full = true
	if err := log.GetLog(3, &raft.Log{}); !errors.Is(err, errNoRoom) {
		t.Fatalf("expected nothing that is not on disk to be given out, found %v", err)
	}
	if last, err := log.LastIndex(); err != nil || last != 4 {
		t.Errorf("expected the log to end where Raft believes it to, at 4, found %d, %v", last, err)
	}
	disk.full = false
	holds(t, log, entry(3, 1), entry(4, 1))
	holds(t, disk, entry(3, 1), entry(4, 1))
}

func TestATailThatIsCutOffFurtherUpIsKeptWhole(t *testing.T) {
	log, disk := cut(t)
	if err := log.DeleteRange(2, 4); err != nil { // the next leader differs earlier
		t.Fatal(err)
	}
	disk.full = true
	if log.StoreLog(entry(2, 3)) == nil {
		t.Fatal("expected no room")
	}
	disk.full = false
	holds(t, log, entry(2, 1), entry(3, 1), entry(4, 1))
}

func TestALeaderStoresTheTailBeforeWhatItAddsToIt(t *testing.T) {
	log, disk := cut(t)
	if err := log.StoreLog(entry(5, 3)); err != nil {
		t.Fatal(err)
	}
	holds(t, disk, entry(3, 1), entry(4, 1), entry(5, 3))
}

func TestATailIsForgottenOnceItIsReplaced(t *testing.T) {
	log, disk := cut(t)
	if err := log.StoreLog(entry(3, 2)); err != nil {
		t.Fatal(err)
	}
	holds(t, disk, entry(3, 2))
	holds(t, log, entry(3, 2))
	if err := log.GetLog(4, &raft.Log{}); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("expected entry 4 to be gone, found %v", err)
	}
}

func TestATailLeavesNoHoleInFrontOfASnapshot(t *testing.T) {
	log, disk := cut(t)
	if err := log.StoreLog(entry(100, 2)); err != nil { // after a snapshot up to 99
		t.Fatal(err)
	}
	if err := disk.GetLog(3, &raft.Log{}); err == nil {
		t.Error("entry 3 was stored with a hole behind it")
	}
}

func TestOldEntriesThatAreDeletedAreNoTail(t *testing.T) {
	log, disk := cut(t)
	if err := log.DeleteRange(1, 3); err != nil {
		t.Fatal(err)
	}
	holds(t, log, entry(4, 1))
	if err := log.StoreLog(entry(5, 2)); err != nil {
		t.Fatal(err)
	}
	holds(t, disk, entry(4, 1), entry(5, 2))
}
