package devlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// ServeDemo serves demo endpoints until ctx ends. Each spec is
// SERVICE@REGION/ZONE=IP:PORT. An endpoint says where it is at /, and its health
// at /healthz, which a POST to /fail and /recover turns.
func ServeDemo(ctx context.Context, specs []string, out io.Writer) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, spec := range specs {
		name, address, ok := strings.Cut(spec, "=")
		if !ok {
			return fmt.Errorf("endpoint %q: expected SERVICE@REGION/ZONE=IP:PORT", spec)
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("endpoint %s: %w", name, err)
		}
		server := &http.Server{Handler: demo(name, address), ReadHeaderTimeout: 5 * time.Second}
		group.Go(func() error {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("endpoint %s: %w", name, err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			return server.Close()
		})
		fmt.Fprintf(out, "%s serves on %s\n", name, address)
	}
	return group.Wait()
}

func demo(name, address string) http.Handler {
	var sick atomic.Bool
	mux := http.NewServeMux()
	turn := func(to bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			sick.Store(to)
			fmt.Fprintf(w, "%s: healthy is now %v\n", name, !to)
		}
	}
	mux.HandleFunc("POST /fail", turn(true))
	mux.HandleFunc("POST /recover", turn(false))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			http.Error(w, "failing as asked", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "%s on %s\n", name, address) })
	return mux
}
