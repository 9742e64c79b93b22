package state

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// maxTail bounds how many entries of a tail that was cut off are remembered. A
// tail that was never agreed on is as long as what a leader had in flight.
const maxTail = 4096

// keptTail remembers the tail that Raft cuts off its log until what replaces it
// is stored. A follower whose tail differs from the leader's deletes its own and
// appends the leader's; when the second fails, as on a full disk, Raft still
// believes its log to end where it did (it says so in a comment), asks for entries
// that are gone and refuses all that follows, until it is restarted. Here the tail
// is put back when an entry of it is asked for and there is room again, so the
// leader's next attempt finds the same conflict and resolves it.
//
// Until then the tail is not on disk, and none of it is given out: a later leader
// might have the same entries, and would be told that they are stored here. That
// they are gone is sound, for nobody can have agreed on them. Should this replica
// win an election meanwhile, what it stores next has the tail before it, in one
// write.
type keptTail struct {
	raft.LogStore

	mu     sync.Mutex
	tail   []*raft.Log // what was cut off, in order, until something is stored
	missed bool        // storing failed, so Raft counts on the tail
}

// DeleteRange deletes the entries from first to last, both included.
func (k *keptTail) DeleteRange(first, last uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	end, err := k.lastIndex()
	if err != nil {
		return err
	}
	if last < end { // old entries, which a snapshot covers
		k.tail = slices.DeleteFunc(k.tail, func(e *raft.Log) bool { return e.Index <= last })
		return k.LogStore.DeleteRange(first, last)
	}
	k.tail = k.read(first, last)
	k.missed = k.missed && len(k.tail) > 0
	return k.LogStore.DeleteRange(first, last)
}

// read returns the entries from first to last, or nothing if there are too many
// or one cannot be read.
func (k *keptTail) read(first, last uint64) []*raft.Log {
	if last-first >= maxTail {
		return nil
	}
	var entries []*raft.Log
	for index := first; index <= last; index++ {
		e := k.missing(index)
		if e == nil {
			e = new(raft.Log)
			if k.LogStore.GetLog(index, e) != nil {
				return nil
			}
		}
		entries = append(entries, e)
	}
	return entries
}

// missing returns an entry that Raft counts on and that is not on disk, or nil.
func (k *keptTail) missing(index uint64) *raft.Log {
	if !k.missed || len(k.tail) == 0 || index < k.tail[0].Index || index > k.tail[len(k.tail)-1].Index {
		return nil
	}
	return k.tail[index-k.tail[0].Index]
}

// StoreLog stores one entry.
func (k *keptTail) StoreLog(entry *raft.Log) error { return k.StoreLogs([]*raft.Log{entry}) }

// StoreLogs stores entries, with what of a tail that is not on disk comes before
// them.
func (k *keptTail) StoreLogs(entries []*raft.Log) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.missed && len(entries) > 0 {
		entries = append(k.before(entries[0].Index), entries...)
	}
	if err := k.LogStore.StoreLogs(entries); err != nil {
		k.missed = len(k.tail) > 0
		return err
	}
	k.tail, k.missed = nil, false
	return nil
}

// before returns the entries of the tail up to the index next, if they reach it.
func (k *keptTail) before(next uint64) []*raft.Log {
	if k.missing(next-1) == nil {
		return nil
	}
	return slices.Clone(k.tail[:next-k.tail[0].Index])
}

// GetLog finds an entry; one of a tail that Raft counts on only if that can be put
// back on disk.
func (k *keptTail) GetLog(index uint64, entry *raft.Log) error {
	err := k.LogStore.GetLog(index, entry)
	if !errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.missing(index)
	if e == nil {
		return err
	}
	if err := k.LogStore.StoreLogs(k.tail); err != nil {
		return fmt.Errorf("put back the end of the log, which was cut off: %w", err)
	}
	k.tail, k.missed = nil, false
	*entry = *e
	return nil
}

// LastIndex returns the index that Raft takes for the last, 0 for an empty log.
func (k *keptTail) LastIndex() (uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lastIndex()
}

func (k *keptTail) lastIndex() (uint64, error) {
	if k.missed && len(k.tail) > 0 {
		return k.tail[len(k.tail)-1].Index, nil
	}
	return k.LogStore.LastIndex()
}
