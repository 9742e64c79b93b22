package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// The files of a data directory.
const (
	logFile     = "raft.db"
	snapshotDir = "snapshots"
)

// retainSnapshots is how many snapshots stay on disk; an older one stands in for
// a corrupt one.
const retainSnapshots = 2

// disk is what Raft keeps on disk.
type disk struct {
	log   *raftboltdb.BoltStore
	snaps *raft.FileSnapshotStore
}

// remedy is what to do when a file cannot be used.
const remedy = "nothing was deleted; restore this replica from a backup (federator restore), or move the data directory away and join again with a new token"

// openDisk opens the log and the snapshots and checks that they can be used and
// fit together, because Raft itself would panic later.
func openDisk(dir string, log hclog.Logger) (*disk, error) {
	path := filepath.Join(dir, logFile)
	if err := checkBolt(path); err != nil {
		return nil, err
	}
	store, err := raftboltdb.New(raftboltdb.Options{
		Path: path, BoltOptions: &bbolt.Options{Timeout: time.Second},
	})
	if err != nil {
		return nil, fmt.Errorf("open the Raft log %s: %w", path, err)
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, retainSnapshots, log)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the snapshots in %s: %w", dir, err), store.Close())
	}
	d := &disk{log: store, snaps: snaps}
	if err := d.check(dir); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return d, nil
}

func (d *disk) close() error { return d.log.Close() }

// checkBolt walks every page of the log file, if there is one. A truncated file
// faults when it is read; that becomes an error here.
func checkBolt(path string) (err error) {
	info, statErr := os.Stat(path)
	if errors.Is(statErr, os.ErrNotExist) {
		return nil
	}
	if statErr != nil {
		return fmt.Errorf("open the Raft log: %w", statErr)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = corruptFile(path, fmt.Errorf("%v", p))
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if errors.Is(err, berrors.ErrTimeout) {
		return fmt.Errorf("the Raft log %s is in use by another process: stop that one first", path)
	}
	if err != nil {
		return corruptFile(path, err)
	}
	err = db.View(func(tx *bbolt.Tx) error { return walk(tx, info.Size()) })
	if err != nil {
		err = corruptFile(path, err)
	}
	return errors.Join(err, db.Close())
}

// walk reads every key and value.
func walk(tx *bbolt.Tx, size int64) error {
	if tx.Size() > size {
		return fmt.Errorf("expected at least %d bytes, found %d", tx.Size(), size)
	}
	return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
		return b.ForEach(func(_, v []byte) error {
			_ = checksum(v)
			return nil
		})
	})
}

func corruptFile(path string, err error) error {
	return ErrCorrupt.withf("%s is corrupt: %v; %s", path, err, remedy)
}

// check reports whether a snapshot can be read and the log continues it.
func (d *disk) check(dir string) error {
	usable, err := d.usableSnapshot(filepath.Join(dir, snapshotDir))
	if err != nil {
		return err
	}
	path := filepath.Join(dir, logFile)
	first, err := d.log.FirstIndex()
	if err != nil {
		return corruptFile(path, err)
	}
	last, err := d.log.LastIndex()
	if err != nil {
		return corruptFile(path, err)
	}
	if last == 0 {
		return nil
	}
	if first > usable+1 {
		return corruptFile(filepath.Join(dir, snapshotDir), fmt.Errorf("the newest snapshot that can be read is at log index %d, but the log begins at %d", usable, first))
	}
	for index := max(first, usable+1); index <= last; index++ {
		if err := d.checkEntry(index); err != nil {
			return corruptFile(path, fmt.Errorf("log entry %d of %d: %w", index, last, err))
		}
	}
	return nil
}

func (d *disk) checkEntry(index uint64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	var entry raft.Log
	if err := d.log.GetLog(index, &entry); err != nil {
		return err
	}
	if entry.Index != index {
		return fmt.Errorf("it says that it is entry %d", entry.Index)
	}
	if entry.Type != raft.LogCommand {
		return nil
	}
	_, err = DecodeEnvelope(entry.Data)
	return err
}

// usableSnapshot returns the index of the newest snapshot that can be read, 0 if
// there is none. It is an error when there are some and none can.
func (d *disk) usableSnapshot(dir string) (uint64, error) {
	listed, err := d.snaps.List()
	if err != nil {
		return 0, fmt.Errorf("list the snapshots in %s: %w", dir, err)
	}
	var errs []error
	for _, meta := range listed {
		err := d.checkSnapshot(meta.ID)
		if err == nil {
			return meta.Index, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", filepath.Join(dir, meta.ID), err))
	}
	unlisted, err := unreadable(dir, listed)
	if err != nil {
		return 0, err
	}
	errs = append(errs, unlisted...)
	if len(errs) > 0 {
		return 0, noSnapshot(errs)
	}
	return 0, nil
}

// noSnapshot tells a newer format from damage.
func noSnapshot(errs []error) error {
	all := errors.Join(errs...)
	if errors.Is(all, ErrFormat) {
		return ErrFormat.withf("no snapshot can be read: %v; nothing was deleted", all)
	}
	return ErrCorrupt.withf("no snapshot can be read: %v; %s", all, remedy)
}

// checkSnapshot checks the whole file's checksum and its format.
func (d *disk) checkSnapshot(id string) error {
	_, source, err := d.snaps.Open(id)
	if err != nil {
		return err
	}
	defer source.Close()
	_, err = newFrameReader(source, magicSnapshot, "snapshot")
	return err
}

// unreadable names the snapshots that Raft passes over because it cannot read
// what they are.
func unreadable(dir string, listed []*raft.SnapshotMeta) ([]error, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the snapshots: %w", err)
	}
	known := map[string]bool{}
	for _, meta := range listed {
		known[meta.ID] = true
	}
	var out []error
	for _, e := range entries {
		if e.IsDir() && !strings.HasSuffix(e.Name(), ".tmp") && !known[e.Name()] {
			out = append(out, fmt.Errorf("%s: its meta.json cannot be read", filepath.Join(dir, e.Name())))
		}
	}
	return out, nil
}

// exists reports whether the directory holds Raft state.
func (d *disk) exists() (bool, error) { return raft.HasExistingState(d.log, d.log, d.snaps) }

// discardTransport encodes addresses for snapshots made offline.
func discardTransport() raft.Transport {
	_, t := raft.NewInmemTransport("offline")
	return t
}
