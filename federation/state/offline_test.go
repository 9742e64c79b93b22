package state

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	bolt "go.etcd.io/bbolt"
)

// solo starts a founded region of one replica with some state and a snapshot.
func solo(t *testing.T, r *testRegion, snapshots int) {
	t.Helper()
	n := r.start("a", true)
	r.do(foundUSWest())
	r.do(&CreateToken{ID: "t", Hash: sum("s"), Purpose: "join", Expires: time.Now().Add(time.Hour)})
	r.do(&PutObject{ObjectKey: policy("default"), Spec: spec("1")})
	for i := range snapshots {
		r.write(i)
		if err := n.Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestARegionThatLostItsQuorumIsRecovered(t *testing.T) {
	r := newTestRegion(t, nil)
	r.three()
	for i := range 5 {
		r.write(i)
	}
	r.do(&CreateToken{ID: "t", Hash: sum("s"), Purpose: "join", Expires: time.Now().Add(time.Hour)})
	r.holds(r.nodes["b"], 5)
	for _, name := range []string{"a", "b", "c"} {
		r.stop(name)
	}
	about, err := Recover(r.dirs["b"], OfflineOptions{RaftID: "b.db"})
	if err != nil || !about.NeedsEpoch || about.Region != "us-west" {
		t.Fatalf("%+v %v", about, err)
	}
	b := r.start("b", false)
	r.until("b leads alone", b.IsLeader)
	if _, ok := b.Export(); ok {
		t.Fatal("it publishes without a new epoch")
	}
	if err := b.Health(); len(err) == 0 {
		t.Fatal("its health does not say so")
	}
	r.write(5)
	b.Read(func(s *State) {
		if len(s.Sets()) != 6 || len(s.Replicas()) != 1 || s.Replica("b") == nil || len(s.Tokens()) != 0 {
			t.Errorf("%d sets, %d replicas, %d tokens", len(s.Sets()), len(s.Replicas()), len(s.Tokens()))
		}
	})
	issued, err := Value[Issued](r.do(&NextEpoch{Region: "us-west", Founder: "fb", Attempt: "1"}))
	if err != nil {
		t.Fatal(err)
	}
	r.do(&SetEpoch{Epoch: issued.Epoch})
	if snap, ok := b.Export(); !ok || snap.Version.Epoch != 2 {
		t.Fatalf("%v %v", snap.Version, ok)
	}
	// It grows again, with an emptied disk under the old name.
	delete(r.dirs, "c")
	r.start("c", false)
	r.do(&AdmitReplica{replica("c", "west-c")})
	r.holds(r.nodes["c"], 6)
}

func TestRecoveryNeedsAState(t *testing.T) {
	if _, err := Recover(t.TempDir(), OfflineOptions{RaftID: "a.da"}); err == nil {
		t.Fatal("an empty directory was recovered")
	}
	r := newTestRegion(t, nil)
	solo(t, r, 0)
	r.stop("a")
	if _, err := Recover(r.dirs["a"], OfflineOptions{RaftID: "stranger.x"}); err == nil {
		t.Fatal("a replica that is not registered recovered the region")
	}
	r.start("a", false) // and nothing was changed
	r.write(0)
}

func TestABackupRestoresARegionOnANewMachine(t *testing.T) {
	r := newTestRegion(t, nil)
	solo(t, r, 2)
	var archive bytes.Buffer
	m, err := r.nodes["a"].Backup(context.Background(), &archive)
	if err != nil || m.Region != "us-west" || m.Index == 0 {
		t.Fatalf("%+v %v", m, err)
	}
	fresh := replica("n", "west-1")
	opts := OfflineOptions{RaftID: "n.dn", Replica: &fresh, DropObjects: true}
	if _, err := Restore(r.dirs["a"], bytes.NewReader(archive.Bytes()), opts); !errors.Is(err, ErrFounded) {
		t.Fatalf("a directory in use was overwritten: %v", err)
	}
	dir := t.TempDir()
	cut := archive.Bytes()[:archive.Len()-9]
	if _, err := Restore(dir, bytes.NewReader(cut), opts); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("a cut archive: %v", err)
	}
	if _, err := Restore(dir, bytes.NewReader(archive.Bytes()), opts); err != nil {
		t.Fatal(err)
	}
	r.stop("a")
	r.dirs["n"] = dir
	n := r.start("n", false)
	r.until("it leads", n.IsLeader)
	n.Read(func(s *State) {
		about := s.About()
		if len(s.Sets()) != 2 || len(s.Replicas()) != 1 || len(s.Tokens()) != 0 || len(s.Objects()) != 0 || !about.ObjectsSuspect || !about.NeedsEpoch {
			t.Errorf("%+v", about)
		}
	})
	r.write(2)
	r.do(&SetEpoch{Epoch: 2})
	r.stop("n")
	r.holds(r.start("n", false), 3)
}

func reopen(t *testing.T, r *testRegion) (*Node, error) {
	t.Helper()
	opts := r.options("a", false)
	n, err := Open(opts)
	if err != nil {
		_ = opts.Stream.Close()
	}
	return n, err
}

// listing is the names and sizes of all files, to see that nothing was deleted.
func listing(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			out[path] = info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestADamagedDirectoryIsNamedAndLeftAlone(t *testing.T) {
	truncate := func(t *testing.T, path string) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()/2); err != nil {
			t.Fatal(err)
		}
	}
	each := func(t *testing.T, dir, name string, damage func(*testing.T, string)) {
		files, err := filepath.Glob(filepath.Join(dir, snapshotDir, "*", name))
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s: %v", name, err)
		}
		for _, f := range files {
			damage(t, f)
		}
	}
	for name, tc := range map[string]struct {
		damage func(t *testing.T, dir string)
		names  string
	}{
		"log overwritten": {func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, logFile), bytes.Repeat([]byte("garbage!"), 8192), 0o600); err != nil {
				t.Fatal(err)
			}
		}, logFile},
		"log truncated": {func(t *testing.T, dir string) { // to its first three pages, two of them meta
			if err := os.Truncate(filepath.Join(dir, logFile), int64(3*os.Getpagesize())); err != nil {
				t.Fatal(err)
			}
		}, logFile},
		"log emptied": {func(t *testing.T, dir string) {
			truncate(t, filepath.Join(dir, logFile))
			_ = os.Truncate(filepath.Join(dir, logFile), 100)
		}, logFile},
		"log bit flipped":         {func(t *testing.T, dir string) { flipEntry(t, filepath.Join(dir, logFile)) }, logFile},
		"all snapshots cut":       {func(t *testing.T, dir string) { each(t, dir, "state.bin", truncate) }, snapshotDir},
		"all snapshots' meta cut": {func(t *testing.T, dir string) { each(t, dir, "meta.json", truncate) }, snapshotDir},
		"snapshots removed": {func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, snapshotDir)); err != nil {
				t.Fatal(err)
			}
		}, snapshotDir},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestRegion(t, func(o *Options) { o.TrailingLogs = 1 })
			solo(t, r, 2)
			r.write(7)
			r.stop("a")
			tc.damage(t, r.dirs["a"])
			before := listing(t, r.dirs["a"])
			n, err := reopen(t, r)
			if err == nil {
				_ = n.Shutdown()
				t.Fatal("it opened")
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tc.names) || !strings.Contains(err.Error(), "join again") {
				t.Fatalf("%v", err)
			}
			for path, size := range listing(t, r.dirs["a"]) {
				if was, ok := before[path]; ok && was != size {
					t.Errorf("%s was changed", path)
				}
			}
			if len(listing(t, r.dirs["a"])) < len(before) {
				t.Error("something was deleted")
			}
		})
	}
}

// flipEntry flips a bit inside the command of the last log entry.
func flipEntry(t *testing.T, path string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("logs"))
		k, v := b.Cursor().Last()
		bad := bytes.Replace(v, []byte("s7"), []byte("s8"), 1)
		if bytes.Equal(bad, v) {
			t.Fatal("the last entry is not the command")
		}
		return b.Put(bytes.Clone(k), bad)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestAnOlderSnapshotStandsInForACorruptOne(t *testing.T) {
	r := newTestRegion(t, nil)
	solo(t, r, 3)
	r.stop("a")
	dirs, err := filepath.Glob(filepath.Join(r.dirs["a"], snapshotDir, "*", "state.bin"))
	if err != nil || len(dirs) != retainSnapshots {
		t.Fatalf("%v %v", dirs, err)
	}
	newest := dirs[len(dirs)-1]
	if err := os.Truncate(newest, 40); err != nil {
		t.Fatal(err)
	}
	r.holds(r.start("a", false), 3)
}

func TestADirectoryInUseIsRefused(t *testing.T) {
	r := newTestRegion(t, nil)
	solo(t, r, 0)
	if _, err := reopen(t, r); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("%v", err)
	}
}

func TestAFullDiskShowsUntilNothingHasFailedForAWhile(t *testing.T) {
	now := time.Unix(1000, 0)
	tr := newTroubles(func() time.Time { return now })
	log := &watchedLog{LogStore: &roomFor{entry: 100}, troubles: tr}
	write := func(size int) { _ = log.StoreLog(&raft.Log{Data: make([]byte, size)}) }
	steps := []struct {
		name  string
		after time.Duration
		size  int // of the entry that is written, 0: none
		shows bool
	}{
		{"a small entry finds room", 0, 10, false},
		{"a large one does not", 0, 1000, true},
		{"a small one does, which says nothing of the large", time.Second, 10, true},
		{"shortly before the time is up", 28 * time.Second, 0, true},
		{"a large one fails once more", 0, 1000, true},
		{"and the time runs anew", 29 * time.Second, 10, true},
		{"nothing failed for long", time.Second, 0, false},
		{"the large one fails again", 0, 1000, true},
		{"and nothing is tried for an hour", time.Hour, 0, true},
		{"until something succeeds", 0, 10, false},
	}
	for _, s := range steps {
		now = now.Add(s.after)
		if s.size > 0 {
			write(s.size)
		}
		if got := tr.list(); (len(got) == 1 && errors.Is(got[0], errNoRoom)) != s.shows || len(got) > 1 {
			t.Errorf("%s: expected the trouble to show: %v, found %v", s.name, s.shows, got)
		}
	}
}

var errNoRoom = errors.New("no space left on device")

// roomFor is a log on a full disk: what is small still finds room.
type roomFor struct {
	raft.LogStore
	entry int
}

func (r *roomFor) StoreLogs(entries []*raft.Log) error {
	if len(entries[0].Data) > r.entry {
		return errNoRoom
	}
	return nil
}

func TestTheTermAndTheVoteWaitForRoom(t *testing.T) {
	full := errNoRoom
	now := time.Unix(1000, 0)
	tr := newTroubles(func() time.Time { return now })
	w := &watchedStable{StableStore: &flaky{fails: 2, err: full}, troubles: tr, closed: make(chan struct{})}
	if err := w.SetUint64([]byte("CurrentTerm"), 3); err != nil {
		t.Fatal(err)
	}
	if got := tr.list(); len(got) != 1 || !errors.Is(got[0], full) {
		t.Errorf("expected the two failures to show, found %v", got)
	}
	if now = now.Add(lingering); len(tr.list()) != 0 {
		t.Error("a trouble that is over still shows")
	}
	closed := make(chan struct{})
	close(closed)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w := &watchedStable{StableStore: &flaky{fails: 1 << 30, err: full}, troubles: tr, closed: closed}
		_ = w.Set([]byte("k"), nil)
		t.Error("it returned to Raft, which would panic")
	}()
	<-ended
}

// flaky fails the first writes.
type flaky struct {
	fails int
	err   error
}

func (f *flaky) write() error {
	if f.fails > 0 {
		f.fails--
		return f.err
	}
	return nil
}
func (f *flaky) Set([]byte, []byte) error         { return f.write() }
func (f *flaky) SetUint64([]byte, uint64) error   { return f.write() }
func (f *flaky) Get([]byte) ([]byte, error)       { return nil, nil }
func (f *flaky) GetUint64([]byte) (uint64, error) { return 0, nil }
