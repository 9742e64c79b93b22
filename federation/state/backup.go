package state

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/hashicorp/raft"
)

// Manifest says what a backup is of.
type Manifest struct {
	TrustDomain string          `json:"trustDomain"`
	Region      string          `json:"region"`
	Authority   bool            `json:"authority,omitempty"`
	Version     catalog.Version `json:"version"`
	Protocol    int             `json:"protocol"`
	// Index is the Raft log index the backup is of.
	Index uint64    `json:"index"`
	Taken time.Time `json:"taken"`
}

func writeBackup(w io.Writer, s *State, now time.Time) (Manifest, error) {
	if s.about.Epoch == 0 {
		return Manifest{}, ErrNotFounded
	}
	m := Manifest{
		TrustDomain: s.about.TrustDomain, Region: s.about.Region, Authority: s.about.Authority,
		Version: s.Version(), Protocol: s.about.Protocol, Index: s.applied, Taken: now.UTC().Round(0),
	}
	f := newFrameWriter(w, magicBackup)
	f.put("manifest", m)
	s.write(f)
	if err := f.close(); err != nil {
		return m, fmt.Errorf("write the backup of region %s: %w", m.Region, err)
	}
	return m, nil
}

// ReadBackup reads and checks a whole archive.
func ReadBackup(r io.Reader) (Manifest, *State, error) {
	var m Manifest
	f, err := newFrameReader(r, magicBackup, "backup")
	if err != nil {
		return m, nil, err
	}
	first, err := f.next()
	if err != nil {
		return m, nil, backupError(err)
	}
	if first.Kind != "manifest" || strictJSON(first.Value, &m) != nil {
		return m, nil, ErrCorrupt.withf("backup: expected the manifest first, found %q", clip(first.Kind, 64))
	}
	s, err := readState(f)
	if err != nil {
		return m, nil, backupError(err)
	}
	if m.Region != s.about.Region || m.Version != s.Version() || s.about.Epoch == 0 {
		return m, nil, ErrCorrupt.withf("backup: the manifest (region %q, version %s) and the state (region %q, version %s) differ", m.Region, m.Version, s.about.Region, s.Version())
	}
	if s.about.Protocol > Protocol {
		return m, nil, ErrFormat.withf("the backup needs protocol %d, this build understands %d: use a newer federator", s.about.Protocol, Protocol)
	}
	return m, s, nil
}

func backupError(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrCorrupt.withf("backup: it is empty")
	}
	return fmt.Errorf("backup: %w", err)
}

// OfflineOptions say what becomes of a region that is recovered or restored.
type OfflineOptions struct {
	// RaftID of the replica that carries on alone.
	RaftID string
	// Replica, when set, is that replica's record, for one that is not registered
	// in the state: a restored region on a new machine.
	Replica *catalog.Replica
	// DropObjects forgets the last-writer-wins objects, so that the other regions
	// refill them. Without it they are kept and marked suspect.
	DropObjects bool
	// Note is the line of the audit trail; its Seq is filled in.
	Note AuditEntry
}

// Restore fills an empty data directory from a backup. The replica becomes the
// only one of the region; all others are forgotten and join anew. Tokens and
// leases are dropped, and the region publishes only after [SetEpoch].
func Restore(dir string, archive io.Reader, opts OfflineOptions) (Manifest, error) {
	m, s, err := ReadBackup(archive)
	if err != nil {
		return m, err
	}
	if err := emptyOfState(dir); err != nil {
		return m, err
	}
	if err := s.startOver(opts); err != nil {
		return m, err
	}
	s.applied = restoredIndex // the log begins anew
	if err := seed(dir, s, opts.RaftID); err != nil {
		return m, fmt.Errorf("restore region %s into %s: %w", m.Region, dir, err)
	}
	return m, nil
}

// emptyOfState refuses a directory that holds a state already.
func emptyOfState(dir string) error {
	for _, name := range []string{logFile, snapshotDir} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return ErrFounded.withf("%s exists: restore needs a data directory without a state; use another one, or move this away first", path)
		} else if !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("restore: %w", err)
		}
	}
	return nil
}

// startOver prepares a state that lost its region: one replica, a new epoch to
// come, nothing that may have been used or granted since.
func (s *State) startOver(opts OfflineOptions) error {
	if opts.Replica != nil {
		replica := *opts.Replica
		if replica.RaftID() != opts.RaftID || replica.Region != s.about.Region {
			return ErrInvalid.withf("replica %s of region %q cannot carry on as %s of region %q", replica.Name, replica.Region, opts.RaftID, s.about.Region)
		}
		s.store(catalog.Record{Replica: &replica})
		if s.Cluster(replica.Cluster) == nil {
			s.store(catalog.Record{Cluster: &catalog.Cluster{Name: replica.Cluster}})
		}
	}
	if !slices.ContainsFunc(s.Replicas(), func(r *catalog.Replica) bool { return r.RaftID() == opts.RaftID }) {
		return ErrNotFound.withf("replica %s is not registered in region %s; give its record to carry on with it", opts.RaftID, s.about.Region)
	}
	for _, r := range s.Replicas() {
		if r.RaftID() != opts.RaftID {
			delete(s.facts[catalog.RecordReplica], replicaKey(r.Name))
		}
	}
	for _, cluster := range s.Clusters() {
		next := *cluster
		next.HealthOwner = ""
		s.store(catalog.Record{Cluster: &next})
	}
	s.noteOffline(opts.Note)
	clear(s.tokens)
	if opts.DropObjects {
		delete(s.facts, catalog.RecordObject)
		clear(s.acked)
	}
	s.about.NeedsEpoch, s.about.ObjectsSuspect = true, true
	s.ring, s.ringLen = nil, 0
	return nil
}

// noteOffline enters in the audit trail what was done to the files of the region.
func (s *State) noteOffline(note AuditEntry) {
	if note.Action == "" {
		return
	}
	s.auditSeq++
	note.Seq, note.Target = s.auditSeq, s.about.Region
	s.audit = append(s.audit, note)
}

// restoredIndex is where the log of a restored region begins: anything above 0.
const restoredIndex = 1

// seed writes the state as the first snapshot of a new Raft.
func seed(dir string, s *State, raftID string) (err error) {
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, retainSnapshots, newRaftLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	only := raft.Configuration{Servers: []raft.Server{server(raftID, raft.Voter)}}
	sink, err := snaps.Create(raft.SnapshotVersionMax, restoredIndex, 1, only, restoredIndex, discardTransport())
	if err != nil {
		return err
	}
	return (&saved{state: s, done: func(error) {}}).Persist(sink)
}
