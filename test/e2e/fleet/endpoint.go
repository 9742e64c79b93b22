package fleet

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Endpoint is a small HTTP server that a services file can name; its health is
// the test's to turn.
type Endpoint struct {
	// Address is its IP address; it listens on [EndpointPort].
	Address string
	sick    atomic.Bool
}

// EndpointPort is where every endpoint listens.
const EndpointPort = 8080

// Endpoints starts so many healthy endpoints; they end with the test.
func (f *Fleet) Endpoints(n int) []*Endpoint {
	f.Helper()
	var all []*Endpoint
	for range n {
		e := &Endpoint{Address: f.Address()}
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", e.Address, EndpointPort))
		if err != nil {
			f.Fatal(err)
		}
		server := &http.Server{Handler: e, ReadHeaderTimeout: 5 * time.Second}
		go func() { _ = server.Serve(l) }() // ends by Close
		f.Cleanup(func() { _ = server.Close() })
		all = append(all, e)
	}
	return all
}

// ServeHTTP says whether the endpoint is healthy.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if e.sick.Load() {
		http.Error(w, "sick", http.StatusServiceUnavailable)
	}
}

// Fail makes the endpoint's health checks fail, Recover makes them pass.
func (e *Endpoint) Fail()    { e.sick.Store(true) }
func (e *Endpoint) Recover() { e.sick.Store(false) }

// Addresses are those of the endpoints, sorted.
func Addresses(endpoints []*Endpoint) []string {
	var all []string
	for _, e := range endpoints {
		all = append(all, e.Address)
	}
	slices.SortFunc(all, func(a, b string) int { return netip.MustParseAddr(a).Compare(netip.MustParseAddr(b)) })
	return all
}

// ServicesFile renders a services file with one service of these endpoints,
// health-checked five times a second. They
// have no zone, so that all are as near to every client of their region.
func ServicesFile(service string, endpoints ...*Endpoint) string {
	var b strings.Builder
	fmt.Fprintf(&b, "services:\n  - name: %s\n    ports: [{name: http, port: %d}]\n", service, EndpointPort)
	b.WriteString("    check: {http: {path: /}, interval: 200ms, timeout: 500ms, healthyThreshold: 1, unhealthyThreshold: 2}\n    endpoints:\n")
	for _, e := range endpoints {
		fmt.Fprintf(&b, "      - {address: %s}\n", e.Address)
	}
	return b.String()
}
