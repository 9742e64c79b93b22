package kube

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

const (
	// warnAgain is how long a warning of the API server is not logged again. One about
	// a field that it does not know comes with every single write.
	warnAgain = time.Hour
	// maxWarnings bounds how many are remembered.
	maxWarnings = 100
)

// warnings logs what the API server warns of, each warning now and then.
type warnings struct {
	log rest.WarningHandlerWithContext
	now func() time.Time

	mu   sync.Mutex
	told map[string]time.Time
}

var _ rest.WarningHandlerWithContext = (*warnings)(nil)

func newWarnings() *warnings {
	return &warnings{log: rest.WarningLogger{}, now: time.Now, told: map[string]time.Time{}}
}

// HandleWarningHeaderWithContext implements [rest.WarningHandlerWithContext].
func (w *warnings) HandleWarningHeaderWithContext(ctx context.Context, code int, agent, text string) {
	if w.due(text) {
		w.log.HandleWarningHeaderWithContext(ctx, code, agent, text)
	}
}

// due reports whether a warning is to be logged, which it then counts as.
func (w *warnings) due(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if last, ok := w.told[text]; ok && now.Sub(last) < warnAgain {
		return false
	}
	if len(w.told) >= maxWarnings {
		clear(w.told)
	}
	w.told[text] = now
	return true
}
