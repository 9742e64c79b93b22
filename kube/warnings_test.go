package kube

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// heard is what was logged.
type heard []string

func (h *heard) HandleWarningHeaderWithContext(_ context.Context, code int, _, text string) {
	*h = append(*h, fmt.Sprint(code, " ", text))
}

func TestAWarningOfTheAPIServerIsLoggedOnceAnHour(t *testing.T) {
	var log heard
	now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	w := newWarnings()
	w.log, w.now = &log, func() time.Time { return now }
	for _, at := range []time.Duration{0, time.Minute, 59 * time.Minute, time.Hour, 2*time.Hour - time.Second} {
		now = time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC).Add(at)
		w.HandleWarningHeaderWithContext(t.Context(), 299, "-", `unknown field "a"`)
	}
	w.HandleWarningHeaderWithContext(t.Context(), 299, "-", `unknown field "b"`)
	if diff := cmp.Diff(heard{`299 unknown field "a"`, `299 unknown field "a"`, `299 unknown field "b"`}, log); diff != "" {
		t.Error(diff)
	}
	for i := range 1000 {
		w.HandleWarningHeaderWithContext(t.Context(), 299, "-", fmt.Sprint(i))
	}
	if len(w.told) > maxWarnings {
		t.Errorf("expected at most %d warnings to be remembered, found %d", maxWarnings, len(w.told))
	}
}
