package verdicts

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Watch reads the verdicts of agents from their logs while those are written.
type Watch struct {
	logs []*log

	mu     sync.Mutex // guards what follows
	events []Event
	err    error
}

// log is that of one agent, read up to some byte.
type log struct {
	by     Place
	path   string
	offset int64
	rest   []byte // of a line that is not complete
}

// begin forgets what was said so far.
func (w *Watch) begin() error {
	err := w.Read()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = nil
	return err
}

// Read reads what was added to all logs. Its error is the first there was.
func (w *Watch) Read() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.logs {
		events, err := l.read()
		if err != nil && w.err == nil {
			w.err = err
		}
		w.events = append(w.events, events...)
	}
	slices.SortStableFunc(w.events, func(a, b Event) int { return a.At.Compare(b.At) })
	return w.err
}

// Events are the verdicts so far, in their order.
func (w *Watch) Events() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

func (l *log) read() ([]Event, error) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(l.offset, io.SeekStart); err != nil {
		return nil, err
	}
	added, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	l.offset += int64(len(added))
	text := append(l.rest, added...)
	end := bytes.LastIndexByte(text, '\n') + 1
	l.rest = slices.Clone(text[end:])
	var events []Event
	for line := range strings.Lines(string(text[:end])) {
		if e, ok := parse(strings.TrimSuffix(line, "\n")); ok {
			e.By = l.by
			events = append(events, e)
		}
	}
	return events, nil
}

// await reads the logs ten times a second until a condition on the verdicts holds
// or the time is over, and reports which.
func (w *Watch) await(within time.Duration, holds func([]Event) bool) (bool, error) {
	for deadline := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		if err := w.Read(); err != nil {
			return false, err
		}
		if holds(w.Events()) {
			return true, nil
		}
		if time.Now().After(deadline) {
			return false, nil
		}
	}
}
