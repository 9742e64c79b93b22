package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/federator/federator/federation/catalog"
)

// ample is the time that a check has which is to end by itself: it has to connect first,
// on a machine that may do much else.
const ample = 30 * time.Second

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func expectError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got %v, want success", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestHTTPChecks(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a probe followed a redirect to another host")
	}))
	defer elsewhere.Close()
	stop := make(chan struct{})
	mux := http.NewServeMux()
	status := func(path string, code int) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	status("/200", 200)
	status("/404", 404)
	status("/500", 500)
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) })
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Big", strings.Repeat("x", 1<<20))
	})
	mux.HandleFunc("/host", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "shop.example" || r.URL.Query().Get("q") != "1" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(stop)
	tests := []struct {
		path, host string
		timeout    time.Duration
		want       string
	}{
		{"/200", "", ample, ""},
		{"/404", "", ample, "found 404"},
		{"/500", "", ample, "found 500"},
		{"/away", "", ample, ""},
		{"/hang", "", 300 * time.Millisecond, "no answer in 300ms"},
		{"/endless", "", ample, ""},
		{"/headers", "", ample, "header"},
		{"/host?q=1", "shop.example", ample, ""},
		{"no path", "", ample, "check path"},
	}
	for _, tc := range tests {
		t.Run(tc.path, func(t *testing.T) {
			err := NewChecker().Once(t.Context(), Target{Address: server.Listener.Addr().String(), Check: catalog.Check{
				Kind: catalog.CheckHTTP, Path: tc.path, Host: tc.host, Timeout: tc.timeout,
			}})
			expectError(t, err, tc.want)
		})
	}
}

func TestTCPChecks(t *testing.T) {
	open, closed := listen(t), listen(t)
	_ = closed.Close()
	check := catalog.Check{Kind: catalog.CheckTCP, Timeout: ample}
	expectError(t, NewChecker().Once(t.Context(), Target{Address: open.Addr().String(), Check: check}), "")
	expectError(t, NewChecker().Once(t.Context(), Target{Address: closed.Addr().String(), Check: check}), "refused")
}

func TestGRPCChecks(t *testing.T) {
	l := listen(t)
	server, service := grpc.NewServer(), health.NewServer()
	service.SetServingStatus("shop.Down", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(server, service)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	mute := listen(t) // accepts in the backlog and never speaks
	tests := []struct {
		name, address, service string
		timeout                time.Duration
		want                   string
	}{
		{"serving", l.Addr().String(), "", ample, ""},
		{"not serving", l.Addr().String(), "shop.Down", ample, "found NOT_SERVING"},
		{"unknown service", l.Addr().String(), "shop.Nothing", ample, "unknown service"},
		{"mute", mute.Addr().String(), "", 300 * time.Millisecond, "no answer in 300ms"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			err := NewChecker().Once(t.Context(), Target{Address: tc.address, Check: catalog.Check{
				Kind: catalog.CheckGRPC, Service: tc.service, Timeout: tc.timeout,
			}})
			expectError(t, err, tc.want)
		})
	}
}

func TestAnUnknownKindOfCheckFails(t *testing.T) {
	expectError(t, NewChecker().Once(t.Context(), Target{Check: catalog.Check{Kind: "icmp", Timeout: time.Second}}), "expected http, tcp or grpc")
}

func TestACanceledProbeSaysNothingAboutTheEndpoint(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := NewChecker().Once(ctx, Target{Address: "127.0.0.1:1", Check: catalog.Check{Kind: catalog.CheckTCP, Timeout: time.Second}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
