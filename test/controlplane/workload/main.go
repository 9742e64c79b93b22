// Command workload is what pods of the tests run: it serves HTTP on port 8080.
//
//	GET  /          the name of the pod (its host name)
//	GET  /ready     200, or 503 while it is told to be unready
//	POST /ready     ?ok=false makes it unready, ?ok=true ready
//	GET  /fetch     ?url=U fetches U from within the pod, on a connection of its own
//	GET  /lookup    ?name=N the addresses of N, one a line, as the pod resolves it
//
// The argument serve makes it do so, and write into a directory if one follows.
// Without, it does nothing until it is told to end: so it also holds the
// namespaces of pods, as the pause image.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) == 0 {
		<-ctx.Done()
		return nil
	}
	if len(args) > 2 || args[0] != "serve" {
		return fmt.Errorf("expected no argument or serve [DIRECTORY], found %q", args)
	}
	for _, dir := range args[1:] {
		if err := os.WriteFile(filepath.Join(dir, "served"), nil, 0o600); err != nil {
			return fmt.Errorf("expected a directory that this user can write to: %w", err)
		}
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	fmt.Println(name, "serves on :8080")
	server := &http.Server{Addr: ":8080", Handler: handler(name), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close() // its error is that of ListenAndServe
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler(name string) http.Handler {
	var unready atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if unready.Load() {
			http.Error(w, "told to be unready", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /ready", func(_ http.ResponseWriter, r *http.Request) {
		unready.Store(r.URL.Query().Get("ok") == "false")
	})
	mux.HandleFunc("GET /fetch", fetch)
	mux.HandleFunc("GET /lookup", lookup)
	return mux
}

// fetch answers with what the URL does.
func fetch(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL.Query().Get("url"), nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(response.Body, 1<<20)) // who asked sees that it is short
}

func lookup(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, r.URL.Query().Get("name"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	slices.Sort(addresses)
	fmt.Fprint(w, strings.Join(addresses, "\n"))
}
