package lab

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// FullDisk is that a replica's file system has no room left. Its data directory
// has to be on one of [smallDisk].
type FullDisk struct{ Replica *replica }

func (f FullDisk) String() string    { return "full: the disk of " + f.Replica.String() }
func (f FullDisk) Touches() []string { return []string{f.Replica.String()} }

func (f FullDisk) ballast() string { return filepath.Join(f.Replica.Dir, "ballast") }

// Begin implements [Fault].
func (f FullDisk) Begin(*World) error {
	b, err := os.OpenFile(f.ballast(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for size := 64 << 10; size > 0; {
		if _, err := b.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	_ = b.Close() // it is full, as it should be
	return nil
}

// End implements [Fault].
func (f FullDisk) End(*World) error { return os.Remove(f.ballast()) }

// Damaged is that a replica was killed and what is on its disk is not what it
// wrote. End puts back what was there and starts it again.
type Damaged struct {
	Replica *replica
	Words   string
	Spoil   func(dir string) error
	good    string
}

func (f *Damaged) String() string    { return f.Words + ": " + f.Replica.String() }
func (f *Damaged) Touches() []string { return []string{f.Replica.String()} }

// Begin implements [Fault].
func (f *Damaged) Begin(w *World) error {
	if err := (Killed{[]*replica{f.Replica}}).Begin(w); err != nil {
		return err
	}
	f.good = f.Replica.Dir + ".good"
	return errors.Join(copyDir(f.Replica.Dir, f.good), f.Spoil(f.Replica.Dir))
}

// End implements [Fault].
func (f *Damaged) End(w *World) error {
	if f.Replica.Running() {
		f.Replica.Kill()
	}
	if err := errors.Join(swapDir(f.good, f.Replica.Dir), os.RemoveAll(f.good)); err != nil {
		return err
	}
	return Killed{[]*replica{f.Replica}}.End(w)
}

// copyDir copies the regular files of a directory that nobody writes to.
func copyDir(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inner, err := filepath.Rel(from, path)
		if err != nil || inner == "." {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, inner), 0o700)
		}
		if !d.Type().IsRegular() {
			return nil // the socket
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, inner), b, 0o600)
	})
}

// swapDir makes a directory hold what another one holds.
func swapDir(from, to string) error {
	return errors.Join(os.RemoveAll(to), copyDir(from, to))
}

// cutShort leaves out the last part of a file.
func cutShort(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()*2/3)
}

// cutLog leaves out the last part of what a Raft log uses of its file, which grows
// ahead of that: a third of the file may hold nothing.
func cutLog(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	var used int64
	err = db.View(func(tx *bbolt.Tx) error {
		used = tx.Size()
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return os.Truncate(path, used*2/3)
}

// flipped changes one bit in every so many bytes of a file, from its middle on.
func flipped(path string, every int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for i := len(b) / 2; i < len(b); i += every {
		b[i] ^= 1
	}
	return os.WriteFile(path, b, 0o600)
}

// snapshots are the files with the states of the complete snapshots of a data
// directory, the newest first. Their directories are named by Raft's term and index,
// and by the time in milliseconds.
func snapshots(dir string) []string {
	found, _ := filepath.Glob(filepath.Join(dir, "raft", "snapshots", "*-*-*", "state.bin")) // the pattern is good
	made := func(path string) int64 {
		words := strings.Split(filepath.Base(filepath.Dir(path)), "-")
		n, err := strconv.ParseInt(words[len(words)-1], 10, 64)
		if err != nil {
			return -1 // it is being written
		}
		return n
	}
	found = slices.DeleteFunc(found, func(path string) bool { return made(path) < 0 })
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(made(b), made(a)) })
	return found
}

// wakesOrSays starts a replica on a damaged disk. It either gets ready, or ends by
// itself with an error that names the damage.
func (s *Stage) wakesOrSays(f *Damaged, mayWake bool) {
	s.Helper()
	f.Replica.Start()
	began := time.Now()
	var said string
	s.Until(20*time.Second, f.Replica.String()+" to get ready, or to end", func() error {
		if f.Replica.Running() {
			return f.Replica.IsReady()
		}
		var err error
		_, said, err = f.Replica.Ended(time.Second)
		return err
	})
	switch {
	case f.Replica.Running() && !mayWake:
		s.Errorf("%s: expected that %s is refused, found it ready", f.Replica, f.Words)
	case !f.Replica.Running() && !(strings.Contains(said, "raft") && strings.Contains(said, "nothing was deleted")):
		s.Errorf("%s: expected an error that says what is damaged and that nothing was deleted, found %q", f.Replica, said)
	}
	words := "ready all the same"
	if !f.Replica.Running() {
		words = "it says: " + said
	}
	s.story.Say("  %s started on a damaged disk: %.120s", f.Replica, words)
	s.Note(f.Words+", decided in", time.Since(began))
}
