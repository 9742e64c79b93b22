package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
)

// ErrNotFounded means that a data directory holds no replica yet.
var ErrNotFounded = errors.New("no replica in the data directory")

// Card is who a replica is, as kept in its data directory.
type Card struct {
	// Format is the version of the directory's layout.
	Format      int    `json:"format"`
	TrustDomain string `json:"trustDomain"`
	// Authority is the region that owns the registry and the trust list.
	Authority string          `json:"authority"`
	Replica   catalog.Replica `json:"replica"`
	// Seeds are the replicas known when it joined, to start from.
	Seeds []catalog.Replica `json:"seeds,omitempty"`
}

const cardFormat = 1

// dataDir names the files of a replica.
type dataDir string

func (d dataDir) path(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}
func (d dataDir) card() string       { return d.path("replica.json") }
func (d dataDir) identity() string   { return d.path("identity") }
func (d dataDir) sealKey() string    { return d.path("identity", "seal.key") }
func (d dataDir) founding() string   { return d.path("founding.json") }
func (d dataDir) raft() string       { return d.path("raft") }
func (d dataDir) imports() string    { return d.path("imports.db") }
func (d dataDir) trust() string      { return d.path("identity", "trust.list") }
func (d dataDir) sealedCA() string   { return d.path("identity", "intermediate.sealed") }
func (d dataDir) sealedRing() string { return d.path("identity", "keyring.sealed") }

func (d dataDir) leftMark() string { return d.path("left") }

func (d dataDir) restoreMark() string { return d.path("restoring") }

// restoring runs a restore under a mark, by which the next try of one that was
// cut short knows that the Raft log here is only what that one left. A restore
// that fails leaves none.
func (d dataDir) restoring(restore func() error) error {
	held, err := os.ReadDir(d.raft())
	switch {
	case d.restored() != nil:
		if err := d.undoRestore(); err != nil {
			return err
		}
	case err == nil && len(held) > 0:
		return fmt.Errorf("%s is not empty: restore needs a data directory without a state; use another one, or move this away first", d.raft())
	}
	if err := writeFile(d.restoreMark(), []byte("restoring\n")); err != nil {
		return err
	}
	if err := restore(); err != nil {
		return errors.Join(err, d.undoRestore())
	}
	return os.Remove(d.restoreMark())
}

// undoRestore removes what an unfinished restore left, its mark last.
func (d dataDir) undoRestore() error {
	if err := os.RemoveAll(d.raft()); err != nil {
		return err
	}
	return os.Remove(d.restoreMark())
}

// restored refuses a directory that holds half of a restored region.
func (d dataDir) restored() error {
	if _, err := os.Stat(d.restoreMark()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("a restore into data directory %s was cut short; run federator restore on it again", d)
}

// markLeft notes that the replica is no longer a member of its region.
func (d dataDir) markLeft() error { return writeFile(d.leftMark(), []byte("left\n")) }

// claim makes the directory if need be, locks it and checks that it holds no
// replica yet.
func (d dataDir) claim() (*dirLock, error) {
	if d == "" {
		return nil, errors.New("data directory: expected a path, found none; give --data-dir")
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, inUse := d.lock()
	if err := errors.Join(d.vacant(), inUse); err != nil {
		if lock != nil {
			_ = lock.Close()
		}
		return nil, err
	}
	return lock, nil
}

// HasReplica reports whether a data directory holds a replica, also one that has
// left.
func HasReplica(dir string) bool {
	_, err := os.Stat(dataDir(dir).card())
	return err == nil
}

// Vacate empties a data directory whose replica has left its region, so that it can
// join anew with another key, and reports whether it did.
func Vacate(dir string) (bool, error) {
	d := dataDir(dir)
	if _, err := os.Stat(d.leftMark()); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	lock, err := d.lock()
	if err != nil {
		return false, err
	}
	defer lock.Close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		// The mark goes last: what is cut short is done again.
		if path := d.path(e.Name()); path != d.leftMark() && path != d.path("lock") && e.Name() != "lost+found" {
			if err := os.RemoveAll(path); err != nil {
				return false, fmt.Errorf("empty the data directory: %w", err)
			}
		}
	}
	return true, os.Remove(d.leftMark())
}

// vacant checks that the directory holds no replica.
func (d dataDir) vacant() error {
	card, err := d.readCard()
	switch {
	case errors.Is(err, ErrNotFounded):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("data directory %s already holds replica %s of region %s; use another directory, or run it with: federator agent --data-dir %s",
		d, card.Replica.Name, card.Replica.Region, d)
}

func (d dataDir) readCard() (Card, error) {
	var card Card
	b, err := os.ReadFile(d.card())
	if errors.Is(err, fs.ErrNotExist) {
		return card, fmt.Errorf("%w %s; make one with federator init or federator join", ErrNotFounded, d)
	}
	if err != nil {
		return card, fmt.Errorf("data directory: %w", err)
	}
	if err := json.Unmarshal(b, &card); err != nil {
		return card, fmt.Errorf("%s is damaged (%w); restore the directory from a copy, or empty it and join again", d.card(), err)
	}
	if _, err := os.Stat(d.leftMark()); err == nil {
		return card, fmt.Errorf("replica %s has left region %s and cannot run again; to join anew, empty %s and use a new token", card.Replica.Name, card.Replica.Region, d)
	}
	if card.Format != cardFormat {
		return card, fmt.Errorf("data directory %s has format %d; this federator reads format %d: run the version that wrote it", d, card.Format, cardFormat)
	}
	return card, nil
}

// lock keeps other processes out of the directory until the returned file is
// closed. The kernel drops the lock with the process, so a crash leaves none.
func (d dataDir) lock() (*dirLock, error) {
	f, err := os.OpenFile(d.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := make([]byte, 16)
		n, _ := f.ReadAt(holder, 0)
		f.Close()
		return nil, fmt.Errorf("data directory %s is in use by another federator process (pid %s); stop that one first", d, holder[:n])
	}
	_ = f.Truncate(0)
	_, _ = fmt.Fprintf(f, "%d", os.Getpid())
	return &dirLock{f}, nil
}

// dirLock is held until it is closed.
type dirLock struct{ *os.File }

// Close gives the lock up by itself: a program that is started at this moment shares
// the open file until it runs, and would hold on to the lock.
func (l *dirLock) Close() error {
	return errors.Join(unix.Flock(int(l.Fd()), unix.LOCK_UN), l.File.Close())
}

// writeJSON replaces a file as a whole.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(b, '\n'))
}

// writeFile replaces a file that nobody else may read.
func writeFile(path string, b []byte) error { return identity.WriteFile(path, b, 0o600) }
