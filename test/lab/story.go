package lab

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Story is what was done and when, in words. It is safe for concurrent use.
type Story struct {
	mu    sync.Mutex
	began time.Time
	lines []string
	hear  func(string)
}

// NewStory begins one now.
func NewStory() *Story { return &Story{began: time.Now()} }

// Hear has every line told as it is written, too.
func (s *Story) Hear(hear func(string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hear = hear
}

// Say adds a line.
func (s *Story) Say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	line := fmt.Sprintf("%s %8.3fs  %s", now.Format("15:04:05.000"), now.Sub(s.began).Seconds(), fmt.Sprintf(format, args...))
	s.lines = append(s.lines, line)
	if s.hear != nil {
		s.hear(line)
	}
}

// String is all of it.
func (s *Story) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}
