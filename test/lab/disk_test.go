package lab

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"
)

// A third of such a file may be what the log has not come to yet.
func TestALogIsCutWithinWhatItUses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	var used int64
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("logs"))
		if err != nil {
			return err
		}
		return b.Put([]byte("entry"), make([]byte, 300<<10))
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = db.View(func(tx *bbolt.Tx) error {
		used = tx.Size()
		return nil
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 2*used); err != nil { // it grows ahead
		t.Fatal(err)
	}
	if err := cutLog(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() >= used {
		t.Errorf("expected less than the %d bytes used, found %v, %v", used, info.Size(), err)
	}
}

func TestTheNewestOfTheCompleteSnapshotsComesFirst(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"2-96-1000", "2-1024-1002", "2-128-1001", "2-2048-1003.tmp"} {
		path := filepath.Join(dir, "raft", "snapshots", name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "state.bin"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for _, path := range snapshots(dir) {
		names = append(names, filepath.Base(filepath.Dir(path)))
	}
	if want := []string{"2-1024-1002", "2-128-1001", "2-96-1000"}; !slices.Equal(names, want) {
		t.Errorf("expected %v, found %v", want, names)
	}
}
