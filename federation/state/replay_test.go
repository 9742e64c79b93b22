package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"pgregory.net/rapid"
)

// mirror is the reference of a stream's reader: snapshots and deltas, no more.
type mirror struct {
	version catalog.Version
	records map[catalog.RecordKey]string
}

func mirrorOf(snap catalog.Snapshot) *mirror {
	m := &mirror{version: snap.Version, records: map[catalog.RecordKey]string{}}
	for _, r := range snap.Records {
		m.records[r.Key()] = string(encodeValue(r))
	}
	return m
}

func (m *mirror) apply(t *rapid.T, d catalog.Delta) {
	if d.Version != (catalog.Version{Epoch: m.version.Epoch, Seq: m.version.Seq + 1}) {
		t.Fatalf("delta %v does not follow %v", d.Version, m.version)
	}
	m.version = d.Version
	for _, r := range d.Upserts {
		m.records[r.Key()] = string(encodeValue(r))
	}
	for _, k := range d.Deletes {
		delete(m.records, k)
	}
}

// drawCommand makes commands over few names, so that they meet.
func drawCommand(t *rapid.T, now time.Time) Command {
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	cluster := rapid.SampledFrom([]string{"west-1", "west-2"}).Draw(t, "cluster")
	source := rapid.SampledFrom([]string{"file", "api"}).Draw(t, "source")
	n := rapid.IntRange(0, 3).Draw(t, "n")
	region := rapid.SampledFrom(three).Draw(t, "region")
	b := replica(name, cluster)
	if n > 0 {
		b.MaxProtocol = Protocol
	}
	drill := drillOf(name, []string{"us-west", "eu-central"}[n/3], []string{"x", "y"}[:n%2]...)
	if n == 1 {
		drill.Schedule = "nightly"
	}
	end := &catalog.DrillEnd{Outcome: catalog.OutcomeStopped, Reason: name, At: now}
	v := catalog.HealthVersion{Epoch: uint64(1 + n/3), Term: uint64(256*rapid.IntRange(0, 3).Draw(t, "term") + n), Seq: uint64(n)}
	deleted := tombstone(object(name, region, uint64(1+n), now), region)
	ends := []string{"e1", "e2", "e3"}[:n]
	all := []Command{
		foundUSWest(), &AdmitReplica{b}, &UpdateReplica{b}, &RemoveReplica{Name: name}, &AddCluster{Cluster: cluster}, &RemoveCluster{Cluster: cluster},
		putSet(cluster, source, name, ends...), putSet(cluster, source, name, ends...),
		&PutSets{Cluster: cluster, Source: source, Deletes: []catalog.ServiceName{service(name)}},
		&GrantLease{Cluster: cluster, Owner: name}, &SetClusterStatus{Cluster: cluster, SourceError: name[:n%2]},
		&AnnouncePrefixes{Cluster: cluster, Prefixes: make([]catalog.ClientPrefix, 0)},
		&FoldHealth{Cluster: cluster, Owner: name, UpTo: v, Changes: []catalog.HealthChange{{Service: service(name), Endpoint: "e1", Health: catalog.Health(n), Version: v}}},
		&PutObject{ObjectKey: policy(name), Spec: spec(name + "<&>")}, &PutObject{ObjectKey: policy(name), Deleted: true},
		&MergeObjects{Objects: []catalog.Object{object(name, region, uint64(n), now.Add(time.Duration(n)*2*time.Minute)), deleted}, Regions: three[:n]},
		&MergeObjects{Regions: []string{"us-west"}, Replace: n == 3},
		&CreateToken{ID: name, Hash: sum(name), Purpose: "join", Expires: now.Add(time.Minute)}, &RevokeToken{ID: name},
		&RedeemToken{ID: name, SecretHash: sum(name), CSRKey: sum(cluster), Purpose: "join", Admit: &AdmitReplica{b}, Register: []*RegisterRegion{nil, register(region, name)}[n%2]},
		&PutSecrets{Secrets: []SecretWrite{{Name: name, Blob: []byte{1}, Recipients: []string{"r"}, Expect: uint64(n)}}},
		&PutTrust{List: []byte(name)}, register(region, name, cluster), &ClaimCluster{Region: region, Cluster: cluster},
		&RemoveRegion{Region: region}, &NextEpoch{Region: region, Founder: name, Attempt: cluster}, &SetIntermediate{Region: region, Intermediate: []byte(name)},
		&SetEpoch{Epoch: uint64(n)}, &RaiseProtocol{Protocol: 1}, &Audit{Action: "x", Target: name},
		&StartDrill{Drill: drill}, &StartDrill{Drill: drill, Failed: name[:n/3]}, grant(drill), &CastBallot{Drill: name, Scope: drill.Scope, Reason: name},
		&AdvanceDrill{ID: name, State: catalog.DrillRunning, Begun: now}, &AdvanceDrill{ID: name, State: catalog.DrillEnded, Outcome: catalog.OutcomeSucceeded, Ended: now},
		&MarkBallot{Drill: name, Elapsed: catalog.Duration(n), Ack: &catalog.PhaseAck{Phase: catalog.PhaseHold, At: now}}, &MarkBallot{Drill: name, End: end, Release: n == 0},
		&MarkBallot{Drill: name, Extend: catalog.Duration(n) * catalog.Duration(time.Second)}, samples(n),
		&PutObject{ObjectKey: drillKey(name), Deleted: true}, &MergeObjects{Regions: []string{"us-west"}},
	}
	return rapid.SampledFrom(all).Draw(t, "command")
}

// TestReplayRestoreAndStreamAgree runs any commands and holds three readers to
// the same end: one that replays all, one that restores a snapshot taken at any
// point and replays the rest, and one that follows the deltas from any point.
func TestReplayRestoreAndStreamAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		full, late := NewState(), (*State)(nil)
		var follower *mirror
		now := epoch0
		run := func(s *State, env Envelope) *catalog.Delta {
			_, delta, err := s.Apply(env)
			if err != nil {
				t.Fatalf("%s: %v", env.Type, err)
			}
			return delta
		}
		steps := rapid.IntRange(1, 60).Draw(t, "steps")
		cut := rapid.IntRange(1, steps).Draw(t, "cut")
		for i := range steps {
			now = now.Add(time.Duration(rapid.IntRange(-10, 120).Draw(t, "seconds")) * time.Second)
			cmd := drawCommand(t, now)
			if i == 0 {
				f := foundUSWest()
				f.Replica.MaxProtocol = rapid.IntRange(MinProtocol, Protocol).Draw(t, "protocol")
				cmd = f
			}
			if i == cut {
				restored, err := ReadSnapshot(bytes.NewReader(snapshotOf(t, full)))
				if err != nil {
					t.Fatal(err)
				}
				late, follower = restored, mirrorOf(full.Own())
			}
			env, err := NewEnvelope(Meta{ID: fmt.Sprint(rapid.IntRange(0, 200).Draw(t, "id")), Time: now}, cmd)
			if err != nil {
				continue
			}
			delta := run(full, env)
			if late == nil {
				continue
			}
			if again := run(late, env); (again == nil) != (delta == nil) {
				t.Fatalf("%s: a restored replica made another delta", env.Type)
			}
			follow(t, full, follower, delta)
		}
		if late != nil && !bytes.Equal(snapshotOf(t, full), snapshotOf(t, late)) {
			t.Fatal("restore and replay differ")
		}
	})
}

// follow feeds the reader and compares it with what the region exports.
func follow(t *rapid.T, s *State, m *mirror, delta *catalog.Delta) {
	switch {
	case delta != nil:
		m.apply(t, *delta)
	case s.Version().Epoch != m.version.Epoch:
		*m = *mirrorOf(s.Own())
	}
	if want := mirrorOf(s.Own()); want.version != m.version || !maps.Equal(want.records, m.records) {
		t.Fatalf("the reader at %v differs from the region at %v", m.version, want.version)
	}
}

func TestDeltasResumeFromTheRingOrNotAtAll(t *testing.T) {
	r := founded(t)
	start := r.s.Version()
	for i := range ringDeltas + 1 {
		r.ok(putSet("west-1", "file", "checkout", fmt.Sprint("e", i)))
	}
	if _, ok := r.s.DeltasSince(start); ok {
		t.Fatal("resumed past the ring")
	}
	next := catalog.Version{Epoch: start.Epoch, Seq: start.Seq + 1}
	deltas, ok := r.s.DeltasSince(next)
	if !ok || len(deltas) != ringDeltas || deltas[0].Version.Seq != next.Seq+1 {
		t.Fatalf("%d deltas, %v", len(deltas), ok)
	}
	if d, ok := r.s.DeltasSince(r.s.Version()); !ok || len(d) != 0 {
		t.Fatal("nothing is missing at the current version")
	}
	if _, ok := r.s.DeltasSince(catalog.Version{Epoch: start.Epoch, Seq: 1 << 40}); ok {
		t.Fatal("a version from the future resumed")
	}
}

func TestACopyIsNotTouchedByLaterChanges(t *testing.T) {
	r := founded(t)
	r.ok(&PutObject{ObjectKey: policy("default"), Spec: spec("1")})
	copied := r.s.clone()
	before := snapshotOf(t, copied)
	r.ok(putSet("west-1", "file", "checkout", "e1"))
	r.ok(&PutObject{ObjectKey: policy("default"), Spec: spec("2")})
	r.ok(&CreateToken{ID: "t", Hash: sum("s"), Purpose: "p", Expires: epoch0.Add(time.Hour)})
	r.ok(&RemoveReplica{Name: "a"})
	if !bytes.Equal(before, snapshotOf(t, copied)) {
		t.Fatal("the copy changed")
	}
}

func fullState(t *testing.T) *State {
	r := withToken(t)
	b := replica("b", "west-2")
	r.ok(redeem("kb", &b))
	r.ok(putSet("west-1", "file", "checkout", "e1", "e2"))
	r.ok(&PutObject{ObjectKey: policy("default"), Spec: spec("1")})
	r.ok(&PutObject{ObjectKey: policy("default"), Deleted: true})
	r.merge([]string{"us-west"})
	r.ok(&PutSecrets{Secrets: []SecretWrite{{Name: "ca", Blob: []byte{1}, Recipients: []string{"r"}}}})
	r.ok(&RemoveRegion{Region: func() string { r.ok(register("eu", "f")); return "eu" }()})
	return r.s
}

func TestDamagedSnapshotsAreRefused(t *testing.T) {
	good := snapshotOf(t, fullState(t))
	if s, err := ReadSnapshot(bytes.NewReader(good)); err != nil || !bytes.Equal(good, snapshotOf(t, s)) {
		t.Fatalf("a good snapshot: %v", err)
	}
	for cut := 0; cut < len(good); cut += 7 {
		if _, err := ReadSnapshot(bytes.NewReader(good[:cut])); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	for at := 0; at < len(good); at += 3 {
		bad := bytes.Clone(good)
		bad[at] ^= 0x40
		if _, err := ReadSnapshot(bytes.NewReader(bad)); err == nil {
			t.Fatalf("a flipped bit at %d went unseen", at)
		}
	}
	var newer bytes.Buffer
	f := &frameWriter{w: newFrameWriter(io.Discard, "").w}
	f.w.Reset(&newer)
	f.w.WriteString(magicSnapshot)
	f.put(frameFormat, formatVersion+1)
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSnapshot(&newer); !errors.Is(err, ErrFormat) {
		t.Fatalf("a newer format: %v", err)
	}
}

// unframed returns the JSON values of a stream, a line each; framed is the
// inverse and computes the checksums, which a fuzzer cannot guess.
func unframed(stream []byte, magic string) []byte {
	var lines [][]byte
	for rest := stream[len(magic):]; len(rest) > 8; {
		size := binary.BigEndian.Uint32(rest)
		lines = append(lines, rest[8:8+size])
		rest = rest[8+size:]
	}
	return bytes.Join(lines, []byte("\n"))
}

func framed(lines []byte, magic string) []byte {
	out := []byte(magic)
	for line := range bytes.SplitSeq(lines, []byte("\n")) {
		out = binary.BigEndian.AppendUint32(out, uint32(len(line)))
		out = binary.BigEndian.AppendUint32(out, checksum(line))
		out = append(out, line...)
	}
	return out
}

func FuzzReadSnapshot(f *testing.F) {
	r := &rig{t: f, s: NewState(), now: epoch0}
	r.ok(foundUSWest())
	r.ok(putSet("west-1", "file", "checkout", "e1"))
	good := snapshotOf(f, r.s)
	if !bytes.Equal(framed(unframed(good, magicSnapshot), magicSnapshot), good) {
		f.Fatal("the harness frames otherwise")
	}
	f.Add(true, good)
	f.Add(false, unframed(good, magicSnapshot))
	f.Fuzz(func(t *testing.T, raw bool, b []byte) {
		if !raw {
			b = framed(b, magicSnapshot)
		}
		s, err := ReadSnapshot(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := ReadSnapshot(bytes.NewReader(snapshotOf(t, s)))
		if err != nil || !bytes.Equal(snapshotOf(t, s), snapshotOf(t, again)) {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
	})
}

func FuzzReadBackup(f *testing.F) {
	r := &rig{t: f, s: NewState(), now: epoch0}
	r.ok(foundUSWest())
	var buf bytes.Buffer
	if _, err := writeBackup(&buf, r.s, epoch0); err != nil {
		f.Fatal(err)
	}
	f.Add(true, buf.Bytes())
	f.Add(false, unframed(buf.Bytes(), magicBackup))
	f.Fuzz(func(t *testing.T, raw bool, b []byte) {
		if !raw {
			b = framed(b, magicBackup)
		}
		_, s, err := ReadBackup(bytes.NewReader(b))
		if err != nil {
			return
		}
		opts := OfflineOptions{RaftID: "n.dn", Replica: &catalog.Replica{Name: "n", DiskID: "dn", Region: s.about.Region, Cluster: "c"}}
		if err := s.startOver(opts); err != nil || s.Publishes() {
			t.Fatalf("a backup that was accepted cannot start over: %v", err)
		}
	})
}

func FuzzDecodeEnvelope(f *testing.F) {
	for _, cmd := range []Command{foundUSWest(), putSet("west-1", "file", "checkout", "e1"), &RevokeToken{ID: "t"}} {
		env, err := NewEnvelope(Meta{ID: "x", Time: epoch0}, cmd)
		if err != nil {
			f.Fatal(err)
		}
		b, err := env.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[4:])
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		// The fuzzer cannot guess a checksum: give it the right one.
		framed := append([]byte{0, 0, 0, 0}, payload...)
		crc := checksum(payload)
		framed[0], framed[1], framed[2], framed[3] = byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc)
		env, err := DecodeEnvelope(framed)
		if err != nil {
			return
		}
		s := NewState()
		r := &rig{t: t, s: s, now: epoch0}
		r.ok(foundUSWest())
		_, _, _ = s.Apply(env)
		if _, err := ReadSnapshot(bytes.NewReader(snapshotOf(t, s))); err != nil {
			t.Fatalf("command %s left a state that cannot be restored: %v", env.Type, err)
		}
	})
}
