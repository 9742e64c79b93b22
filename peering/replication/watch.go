package replication

import (
	"context"
	"crypto/sha256"
	"hash"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// watch is one stream being served. It pulls from the exports what the consumer
// lacks, and so holds nothing back for one that is slow.
type watch struct {
	server  *Server
	region  string
	relayed bool
	stream  grpc.ServerStreamingServer[pb.WatchEvent]
	caller  Caller
	epoch   uint64          // of the caller's region
	held    catalog.Version // what the consumer holds once it received all that was sent
	full    bool            // the next is to be a snapshot
	sent    atomic.Int64    // events sent
}

func (w *watch) run(ctx context.Context) error {
	if w.server.cfg.Removed(w.caller.Region, w.epoch) {
		return w.farewell()
	}
	if err := w.hello(); err != nil {
		return err
	}
	tick := time.NewTicker(w.server.cfg.Heartbeat)
	defer tick.Stop()
	for beat := true; ; {
		changed := w.server.cfg.Exports.Changed(w.region)
		if err := w.catchUp(ctx); err != nil {
			return err
		}
		if beat && w.server.cfg.Removed(w.caller.Region, w.epoch) {
			return w.farewell()
		}
		if beat {
			if err := w.heartbeat(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			beat = false
		case <-tick.C:
			beat = true
		}
	}
}

// catchUp sends until the consumer holds what the exports hold.
func (w *watch) catchUp(ctx context.Context) error {
	for ctx.Err() == nil {
		deltas, ok := w.server.cfg.Exports.DeltasSince(w.region, w.held)
		if w.full || !ok {
			return w.snapshot()
		}
		if len(deltas) == 0 {
			return nil
		}
		for _, d := range deltas {
			if d.Version.Compare(w.held) <= 0 {
				continue // a snapshot went out meanwhile
			}
			if err := w.delta(d); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func (w *watch) send(e *pb.WatchEvent) error {
	if err := w.stream.Send(e); err != nil {
		return err
	}
	w.sent.Add(1)
	return nil
}

func (w *watch) hello() error {
	return w.send(&pb.WatchEvent{Event: &pb.WatchEvent_Hello{Hello: &pb.Hello{
		Region:  w.region,
		Version: VersionToPB(w.server.cfg.Exports.Version(w.region)),
		Replica: w.server.cfg.Replica,
		Relayed: w.relayed,
	}}})
}

// farewell tells the caller that its own region was removed.
func (w *watch) farewell() error {
	return w.send(&pb.WatchEvent{Event: &pb.WatchEvent_Removed{Removed: &pb.Removed{
		Epoch:   w.epoch,
		Message: "join the region again with a new token",
	}}})
}

func (w *watch) heartbeat() error {
	now := w.server.cfg.Now()
	beat := &pb.Heartbeat{
		Version:    VersionToPB(w.held),
		ServerTime: timestamppb.New(now),
	}
	if w.relayed {
		beat.Age = durationpb.New(age(now, w.server.cfg.Evidence(w.region)))
	}
	return w.send(&pb.WatchEvent{Event: &pb.WatchEvent_Heartbeat{Heartbeat: beat}})
}

// never is the age of what was never heard.
const never = 100 * 365 * 24 * time.Hour

// age is how long ago something was heard.
func age(now, heard time.Time) time.Duration {
	if heard.IsZero() {
		return never
	}
	return max(0, now.Sub(heard))
}

// delta sends one change, or a snapshot where that is smaller than the message.
func (w *watch) delta(d catalog.Delta) error {
	out := &pb.Delta{Region: d.Region, Version: VersionToPB(d.Version)}
	for _, k := range d.Deletes {
		out.Deletes = append(out.Deletes, string(k))
	}
	for i := range d.Upserts {
		if p, ok := w.record(&d.Upserts[i]); ok {
			out.Upserts = append(out.Upserts, p)
		} else {
			out.Deletes = append(out.Deletes, string(d.Upserts[i].Key()))
		}
	}
	if proto.Size(out) > maxDeltaBytes && len(out.Upserts)+len(out.Deletes) > 1 {
		return w.snapshot()
	}
	if err := w.send(&pb.WatchEvent{Event: &pb.WatchEvent_Delta{Delta: out}}); err != nil {
		return err
	}
	w.held = d.Version
	w.server.metrics.deltas.WithLabelValues(w.region).Inc()
	return nil
}

// record converts a record for the wire. One that the consumers would refuse is
// left out: it must not keep all others from them.
func (w *watch) record(r *catalog.Record) (*pb.Record, bool) {
	p := RecordToPB(r)
	if _, err := publishedFromPB(w.region, p); err != nil {
		w.server.metrics.refused.WithLabelValues(w.region).Inc()
		w.server.cfg.Logger.Error("record is not published, because other regions would refuse it: correct its source",
			"region", w.region, "record", r.Key(), "error", err)
		return nil, false
	}
	return p, true
}

// snapshot sends the complete state in chunks.
func (w *watch) snapshot() error {
	snap, ok := w.server.cfg.Exports.Snapshot(w.region)
	if !ok {
		return status.Errorf(codes.NotFound, "region %q is not known here any more", w.region)
	}
	begin := &pb.SnapshotBegin{Version: VersionToPB(snap.Version), Records: uint64(len(snap.Records)), Partial: snap.Partial}
	if err := w.send(&pb.WatchEvent{Event: &pb.WatchEvent_SnapshotBegin{SnapshotBegin: begin}}); err != nil {
		return err
	}
	c := chunker{send: w.send, version: begin.GetVersion(), sum: sha256.New()}
	for i := range snap.Records {
		if p, ok := w.record(&snap.Records[i]); ok {
			if err := c.add(p, snap.Records[i].Key()); err != nil {
				return err
			}
		}
	}
	if err := c.end(); err != nil {
		return err
	}
	w.held, w.full = snap.Version, false
	w.server.metrics.snapshots.WithLabelValues(w.region).Inc()
	return nil
}

// chunker cuts a snapshot into messages of about chunkBytes.
type chunker struct {
	send    func(*pb.WatchEvent) error
	version *pb.Version
	sum     hash.Hash
	chunk   []*pb.Record
	bytes   int
	total   uint64
}

func (c *chunker) add(p *pb.Record, k catalog.RecordKey) error {
	n := proto.Size(p)
	if c.bytes+n > chunkBytes {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.chunk = append(c.chunk, p)
	c.bytes += n
	c.total++
	sumKey(c.sum, k)
	return nil
}

func (c *chunker) flush() error {
	if len(c.chunk) == 0 {
		return nil
	}
	e := &pb.WatchEvent{Event: &pb.WatchEvent_SnapshotChunk{SnapshotChunk: &pb.SnapshotChunk{Records: c.chunk, Version: c.version}}}
	c.chunk, c.bytes = nil, 0
	return c.send(e)
}

func (c *chunker) end() error {
	if err := c.flush(); err != nil {
		return err
	}
	return c.send(&pb.WatchEvent{Event: &pb.WatchEvent_SnapshotEnd{
		SnapshotEnd: &pb.SnapshotEnd{Records: c.total, Checksum: c.sum.Sum(nil), Version: c.version},
	}})
}

// sumKey adds the key of a record to the checksum of a snapshot.
func sumKey(h hash.Hash, k catalog.RecordKey) {
	h.Write([]byte(k))
	h.Write([]byte{0})
}
