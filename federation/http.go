package federation

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// ServeWaiting answers /healthz, and /readyz with what is waited for, until ctx
// ends: in place of a replica that is still to join. It never says ready: that is for
// the replica to say.
func ServeWaiting(ctx context.Context, address string, waiting func() string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("http: %w", err)
	}
	return serveHTTP(ctx, l, prometheus.NewRegistry(), func() []string {
		return []string{cmp.Or(waiting(), "the replica to start")}
	})
}

// serveHTTP answers /metrics, /healthz and /readyz until ctx ends. waiting says
// what the replica still waits for; nothing means ready. It never depends on
// other regions: a control plane that cannot start while a remote is down is an
// outage that spreads.
func serveHTTP(ctx context.Context, l net.Listener, metrics prometheus.Gatherer, waiting func() []string) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		list := waiting()
		if len(list) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"ready": len(list) == 0, "waitingFor": list})
	})
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(grace)
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("http on %s: %w", l.Addr(), err)
	}
	return nil
}
