package federation

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// A flip that happens while a fold waits for a leader must not be undone by the
// old value gossiped anew.
func TestReemittingDoesNotUndoAFlipMadeMeanwhile(t *testing.T) {
	l := &reviewLedger{folded: map[string]catalog.HealthVersion{}, err: errors.New("no leader")}
	d, c := reviewDesk(t, 1, 1, l)
	svc := catalog.ServiceName{Namespace: "n", Name: "s00000"}
	d.emit([]catalog.HealthChange{{Service: svc, Endpoint: "e0", Health: catalog.Unhealthy}})
	d.mu.Lock()
	d.voice.said = time.Now().Add(-time.Minute)
	d.mu.Unlock()
	l.before = func() {
		d.emit([]catalog.HealthChange{{Service: svc, Endpoint: "e0", Health: catalog.Healthy}})
	}
	d.fold(context.Background())
	if h := c.Service(svc).Backends[0].Health[0]; h != catalog.Healthy {
		t.Errorf("the endpoint turned healthy, and counts as %s", h)
	}
}
