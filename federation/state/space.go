package state

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// space is the room in a file system, in bytes.
type space struct {
	free uint64 // for a process without privileges
	size uint64
}

// spaceOf measures the file system that holds a directory.
func spaceOf(dir string) (space, error) {
	var at unix.Statfs_t
	if err := unix.Statfs(dir, &at); err != nil {
		return space{}, fmt.Errorf("measure the free space of %s: %w", dir, err)
	}
	block := uint64(at.Bsize) // of different types on different systems
	return space{free: block * uint64(at.Bavail), size: block * at.Blocks}, nil
}

// A disk is low when both are true: a small volume may be meant to be small, and
// a tenth of a large one may be plenty.
const (
	lowBytes = 1 << 30
	lowPart  = 10 // a tenth
)

func (s space) low() bool { return s.free < lowBytes && s.free < s.size/lowPart }

// trouble says that a disk is low, nil if it is not.
func (s space) trouble(dir string) error {
	if !s.low() {
		return nil
	}
	return &Error{Code: "disk-low", Message: fmt.Sprintf("%d MiB of %d MiB are free on the disk of %s", s.free>>20, s.size>>20, dir)}
}

// diskFree is the free space of the data directory's disk in bytes, NaN if it
// cannot be measured.
func (n *Node) diskFree() float64 {
	at, err := spaceOf(n.opts.Dir)
	if err != nil {
		return math.NaN()
	}
	return float64(at.free)
}
