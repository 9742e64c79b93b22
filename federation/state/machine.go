package state

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// machine runs a [State] under Raft: the adapter to raft.FSM. It guards the
// state, wakes subscribers and stops for good at a command it cannot run.
type machine struct {
	mu    sync.RWMutex
	state *State

	protocol int
	onHalt   func(error)
	onStep   func(Type, Result)
	onSave   func(error) // outcome of writing a snapshot
	halted   error
	wake     map[chan struct{}]struct{}
	applied  chan struct{} // closed and replaced with every index
}

func newMachine(protocol int) *machine {
	return &machine{
		state: NewState(), protocol: protocol,
		onHalt: func(error) {}, onStep: func(Type, Result) {}, onSave: func(error) {},
		wake: map[chan struct{}]struct{}{}, applied: make(chan struct{}),
	}
}

// Apply runs one committed log entry. It returns a Result, or an error once the
// machine has halted.
func (m *machine) Apply(entry *raft.Log) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.halted != nil {
		return m.halted
	}
	env, err := DecodeEnvelope(entry.Data)
	if err != nil {
		return m.halt(fmt.Sprintf("log entry %d", entry.Index), err)
	}
	result, delta, err := m.state.applyAs(env, m.protocol)
	if err != nil {
		return m.halt(fmt.Sprintf("log entry %d", entry.Index), err)
	}
	m.state.applied, result.Index = entry.Index, entry.Index
	m.advance()
	if delta != nil || env.Type == TypeSetEpoch {
		m.signal()
	}
	m.onStep(env.Type, result)
	return result
}

// halt stops the machine: skipping an entry would make this replica differ from
// the others in silence.
func (m *machine) halt(where string, err error) error {
	m.halted = ErrHalted.withf("halted at %s, nothing was lost: %v", where, err)
	m.onHalt(m.halted)
	return m.halted
}

// Snapshot copies the state, which is quick; Raft persists the copy while new
// entries are applied.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.halted != nil {
		return nil, m.halted
	}
	return &saved{state: m.state.clone(), done: m.onSave}, nil
}

// Restore replaces the state with a snapshot, or leaves it as it is. It halts at
// one that needs a newer build, which its leader would send for ever.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	s, err := ReadSnapshot(r)
	if err == nil {
		err = s.understoodBy(m.protocol)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case errors.Is(err, ErrProtocol) && m.halted == nil:
		return m.halt("a snapshot", err)
	case err != nil:
		return err
	}
	m.state = s
	m.advance()
	m.signal()
	return nil
}

// advance wakes whoever waits for a log index.
func (m *machine) advance() {
	close(m.applied)
	m.applied = make(chan struct{})
}

// signal wakes every subscriber.
func (m *machine) signal() {
	for ch := range m.wake {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (m *machine) read(f func(*State)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	f(m.state)
}

func (m *machine) haltedErr() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.halted
}

// subscribe returns a channel that holds a value whenever something changed.
func (m *machine) subscribe() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wake[ch] = struct{}{}
	return ch, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.wake, ch)
	}
}

// saved is the immutable copy that becomes a snapshot on disk.
type saved struct {
	state *State
	done  func(error)
}

// Persist writes the copy.
func (s *saved) Persist(sink raft.SnapshotSink) error {
	err := s.state.WriteSnapshot(sink)
	if err == nil {
		err = sink.Close()
	}
	if err != nil {
		err = fmt.Errorf("write snapshot %s: %w", sink.ID(), err)
		_ = sink.Cancel() // the write error is the one that matters
	}
	s.done(err)
	return err
}

// Release has nothing to free.
func (*saved) Release() {}

// position returns the last index applied, and a channel that is closed when
// there is another.
func (m *machine) position() (<-chan struct{}, uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.applied, m.state.applied
}

// copy returns an immutable copy of the state.
func (m *machine) copy() *State {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state.clone()
}
