package replication

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// receiver is the pure core of a stream: the events of the server go in, what
// to do to the sink comes out. It holds at most one snapshot in assembly.
type receiver struct {
	region  string
	relayed bool                    // the upstream is expected to relay
	removed func(epoch uint64) bool // whether an epoch of the region was removed
	held    catalog.Version         // what the sink holds
	partial bool                    // and whether that lacks fields
	target  catalog.Version         // the newest version the server announced
	age     time.Duration           // how old the server's own knowledge is
	greeted bool
	part    *assembly
}

// effect is what an event asks to be done to the sink; at most one is set.
type effect struct {
	reset *catalog.Snapshot
	delta *catalog.Delta
}

// RemovedError means that the server knows the caller's own region and epoch as
// removed from the federation.
type RemovedError struct {
	Epoch   uint64
	Message string
}

// Error returns what the server said.
func (e *RemovedError) Error() string {
	return fmt.Sprintf("this region's epoch %d was removed from the federation: %s", e.Epoch, e.Message)
}

// take judges one event. An error ends the stream: catalog.ErrGap asks for a
// complete snapshot, a [*RemovedError] says that the own region was removed, any
// other is a violation of the protocol.
func (r *receiver) take(ev *pb.WatchEvent) (effect, error) {
	if removed := ev.GetRemoved(); removed != nil {
		return effect{}, &RemovedError{removed.GetEpoch(), printable(removed.GetMessage(), maxText)}
	}
	if hello := ev.GetHello(); hello != nil || !r.greeted {
		return effect{}, r.hello(hello)
	}
	switch e := ev.GetEvent().(type) {
	case *pb.WatchEvent_SnapshotBegin:
		return effect{}, r.begin(e.SnapshotBegin)
	case *pb.WatchEvent_SnapshotChunk:
		return effect{}, r.chunk(e.SnapshotChunk)
	case *pb.WatchEvent_SnapshotEnd:
		return r.end(e.SnapshotEnd)
	case *pb.WatchEvent_Delta:
		return r.delta(e.Delta)
	case *pb.WatchEvent_Heartbeat:
		return effect{}, r.heartbeat(e.Heartbeat)
	}
	return effect{}, nil // an event that only newer replicas know
}

// caughtUp reports whether the sink holds all that the server announced.
func (r *receiver) caughtUp() bool { return r.greeted && r.held.Compare(r.target) >= 0 }

func (r *receiver) hello(h *pb.Hello) error {
	v := VersionFromPB(h.GetVersion())
	switch {
	case h == nil:
		return errors.New("expected hello as the first event of the stream")
	case r.greeted:
		return errors.New("hello came twice")
	case h.GetRegion() != r.region:
		return fmt.Errorf("the server serves region %q, expected %q", printable(h.GetRegion(), maxName), r.region)
	case h.GetRelayed() != r.relayed:
		return fmt.Errorf("the server relays: %t, expected %t", h.GetRelayed(), r.relayed)
	case v.Epoch == 0:
		return errors.New("the server holds no version of the region")
	case v.Epoch < r.held.Epoch:
		return fmt.Errorf("the server is at epoch %d of the region, which is at %d: it was restored or must rejoin", v.Epoch, r.held.Epoch)
	}
	r.greeted = true
	return r.announce(v)
}

// announce notes the version that the server holds.
func (r *receiver) announce(v catalog.Version) error {
	if r.removed(v.Epoch) {
		return fmt.Errorf("epoch %d of region %q was removed from the federation: its replicas must join again", v.Epoch, r.region)
	}
	if v.Compare(r.target) > 0 {
		r.target = v
	}
	return nil
}

func (r *receiver) heartbeat(b *pb.Heartbeat) error {
	v := VersionFromPB(b.GetVersion())
	r.age = 0
	if r.relayed {
		r.age = max(0, b.GetAge().AsDuration())
	}
	if r.part == nil && v.Compare(r.held) > 0 {
		return fmt.Errorf("everything up to %s was sent, %s is held: %w", v, r.held, catalog.ErrGap)
	}
	return r.announce(v)
}

func (r *receiver) delta(p *pb.Delta) (effect, error) {
	if r.part != nil {
		return effect{}, errors.New("a delta came within a snapshot")
	}
	d, err := DeltaFromPB(r.region, p)
	if err != nil {
		return effect{}, err
	}
	if err := r.announce(d.Version); err != nil {
		return effect{}, err
	}
	switch {
	case d.Version.Compare(r.held) <= 0:
		return effect{}, nil
	case !follows(d.Version, r.held):
		return effect{}, fmt.Errorf("delta %s after %s: %w", d.Version, r.held, catalog.ErrGap)
	}
	return effect{delta: &d}, nil
}

// assembly is a snapshot of which all chunks have not come yet.
type assembly struct {
	snapshot catalog.Snapshot
	keys     map[catalog.RecordKey]bool
	limit    uint64
	bytes    int
	sum      hash.Hash
}

// is reports whether it is the snapshot at that version, nil being any: older servers do
// not say it.
func (a *assembly) is(v *pb.Version) bool {
	return v == nil || VersionFromPB(v) == a.snapshot.Version
}

func (r *receiver) begin(b *pb.SnapshotBegin) error {
	v := VersionFromPB(b.GetVersion())
	switch {
	case r.part != nil:
		return errors.New("a snapshot began within a snapshot")
	case v.Epoch == 0:
		return errors.New("snapshot_begin.version: expected an epoch from 1")
	case b.GetRecords() > maxRecords:
		return fmt.Errorf("snapshot_begin.records: %d, expected at most %d", b.GetRecords(), maxRecords)
	}
	r.part = &assembly{
		snapshot: catalog.Snapshot{Region: r.region, Version: v, Partial: b.GetPartial()},
		keys:     map[catalog.RecordKey]bool{},
		limit:    b.GetRecords(),
		sum:      sha256.New(),
	}
	return r.announce(v)
}

func (r *receiver) chunk(c *pb.SnapshotChunk) error {
	a := r.part
	if a == nil {
		return errors.New("a snapshot chunk came outside a snapshot")
	}
	if v := c.GetVersion(); !a.is(v) {
		return fmt.Errorf("a chunk of the snapshot at %s came within the one at %s", VersionFromPB(v), a.snapshot.Version)
	}
	if a.bytes += proto.Size(c); a.bytes > maxSnapshotBytes {
		return fmt.Errorf("snapshot of more than %d bytes", maxSnapshotBytes)
	}
	for _, p := range c.GetRecords() {
		rec, err := publishedFromPB(r.region, p)
		if err != nil {
			return within("snapshot_chunk", err)
		}
		k := rec.Key()
		if a.keys[k] {
			return fmt.Errorf("snapshot_chunk: key %q twice", k)
		}
		if uint64(len(a.keys)) >= a.limit {
			return fmt.Errorf("snapshot_chunk: more than the %d records announced", a.limit)
		}
		a.keys[k] = true
		sumKey(a.sum, k)
		a.snapshot.Records = append(a.snapshot.Records, rec)
	}
	return nil
}

func (r *receiver) end(e *pb.SnapshotEnd) (effect, error) {
	a := r.part
	r.part = nil
	switch {
	case a == nil:
		return effect{}, errors.New("a snapshot ended that had not begun")
	case !a.is(e.GetVersion()):
		return effect{}, fmt.Errorf("the snapshot at %s ended within the one at %s", VersionFromPB(e.GetVersion()), a.snapshot.Version)
	case e.GetRecords() != uint64(len(a.snapshot.Records)):
		return effect{}, fmt.Errorf("snapshot of %d records, %d arrived", e.GetRecords(), len(a.snapshot.Records))
	case !bytes.Equal(e.GetChecksum(), a.sum.Sum(nil)):
		return effect{}, errors.New("snapshot checksum differs: a chunk was lost or is foreign")
	case !a.snapshot.Replaces(r.held, r.partial):
		return effect{}, nil
	}
	return effect{reset: &a.snapshot}, nil
}
