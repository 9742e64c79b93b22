package state

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/federator/federator/federation/catalog"
)

// next is the protocol of a build that is newer than this one.
const next = Protocol + 1

func newer(name string) catalog.Replica {
	r := replica(name, "west-1")
	r.MaxProtocol = next
	return r
}

// audit is a command that needs the next protocol.
func audit(id string) Envelope {
	return Envelope{Type: TypeAudit, Version: next, Meta: Meta{ID: id, Time: epoch0}, Body: []byte(`{"action":"a","target":"b"}`)}
}

func TestANewerCommandPutsItsProtocolInForceOnceItIsAccepted(t *testing.T) {
	r := founded(t)
	before := r.s.About().Protocol
	result, _, err := r.s.applyAs(audit("1"), next)
	if err != nil || !errors.Is(result.Err(), ErrProtocol) || r.s.About().Protocol != before {
		t.Fatalf("expected it to be refused while an old replica is registered, and protocol %d: found %v, %v, protocol %d", before, result.Err(), err, r.s.About().Protocol)
	}
	r.ok(&UpdateReplica{newer("a")})
	if got := r.s.About().Protocol; got != before {
		t.Fatalf("a replica that understands more raised the protocol to %d", got)
	}
	if result, _, err = r.s.applyAs(audit("2"), next); err != nil || result.Err() != nil {
		t.Fatal(err, result.Err())
	}
	if got := r.s.About().Protocol; got != next {
		t.Fatalf("expected protocol %d in force, found %d", next, got)
	}
	old := replica("b", "west-1")
	old.MaxProtocol = Protocol
	r.refuse(&AdmitReplica{old}, ErrProtocol) // it could not run the log
	old.Name, old.DiskID = "a", "da"
	r.refuse(&UpdateReplica{old}, ErrProtocol) // it would hold the others back
	r.ok(putSet("west-1", "file", "checkout", "e1"))
	if got := r.s.About().Protocol; got != next {
		t.Fatalf("an older command lowered the protocol to %d", got)
	}
}

// later is a snapshot as a newer build writes it: with a frame of its own.
func later(t *testing.T) []byte {
	s := founded(t).s.clone()
	s.about.Protocol = next
	var buf bytes.Buffer
	f := newFrameWriter(&buf, magicSnapshot)
	f.put("head", head{About: s.about, Seq: s.seq, Applied: s.applied})
	f.put("novelty", 1)
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestASnapshotOfANewerProtocolIsNoDamage(t *testing.T) {
	if _, err := ReadSnapshot(bytes.NewReader(later(t))); !errors.Is(err, ErrProtocol) {
		t.Fatalf("expected to be told to upgrade, found %v", err)
	}
}

func TestASnapshotOfANewerProtocolHaltsTheReplicaThatGetsIt(t *testing.T) {
	m := newMachine(Protocol)
	told := make(chan error, 1)
	m.onHalt = func(err error) { told <- err }
	before := snapshotOf(t, m.copy())
	if err := m.Restore(io.NopCloser(bytes.NewReader(later(t)))); !errors.Is(err, ErrHalted) {
		t.Fatalf("expected it to halt, found %v", err)
	}
	if err := <-told; !errors.Is(err, ErrHalted) || !errors.Is(m.haltedErr(), ErrHalted) {
		t.Fatalf("found %v, %v", err, m.haltedErr())
	}
	if !bytes.Equal(before, snapshotOf(t, m.copy())) {
		t.Fatal("the state changed")
	}
	if err := m.Restore(io.NopCloser(bytes.NewReader(later(t)))); !errors.Is(err, ErrProtocol) {
		t.Fatalf("expected the leader's next try to be refused, found %v", err)
	}
}

func TestAReplicaThatIsRolledBackBehindASnapshotOfANewerProtocolDoesNotStart(t *testing.T) {
	r := newTestRegion(t, func(o *Options) { o.protocol = next })
	n := r.start("a", true)
	r.do(foundUSWest())
	r.do(&UpdateReplica{newer("a")})
	if _, err := n.propose(context.Background(), audit("x")); err != nil {
		t.Fatal(err)
	}
	if err := n.Snapshot(); err != nil {
		t.Fatal(err)
	}
	r.stop("a")
	r.tweak = nil
	if n, err := Open(r.options("a", false)); !errors.Is(err, ErrHalted) {
		if err == nil {
			_ = n.Shutdown()
		}
		t.Fatalf("expected it to say that it needs a newer build, found %v", err)
	}
}
