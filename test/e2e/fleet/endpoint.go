package fleet

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Endpoint is a small HTTP server that a services file can name; its health is
// the test's to turn.
type Endpoint struct {
	// Address is its IP address; it listens on [EndpointPort].
	Address string
	listen  func(network, address string) (net.Listener, error)
	sick    atomic.Bool

	mu  sync.Mutex // guards what follows
	end func()     // set while it lives
}

// EndpointPort is where every endpoint listens.
const EndpointPort = 8080

// Endpoints starts so many healthy endpoints; they end with the test.
func (f *Fleet) Endpoints(n int) []*Endpoint {
	f.Helper()
	var all []*Endpoint
	for range n {
		all = append(all, f.EndpointAt(f.Address(), net.Listen))
	}
	return all
}

// EndpointAt starts a healthy endpoint that listens at an address, where listen
// may have it on another machine; it ends with the test.
func (f *Fleet) EndpointAt(address string, listen func(network, address string) (net.Listener, error)) *Endpoint {
	f.Helper()
	e := &Endpoint{Address: address, listen: listen}
	if err := e.Revive(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(e.Kill)
	return e
}

// Revive starts the endpoint again after Kill.
func (e *Endpoint) Revive() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.end != nil {
		return fmt.Errorf("the endpoint %s lives already", e.Address)
	}
	l, err := e.listen("tcp", net.JoinHostPort(e.Address, strconv.Itoa(EndpointPort)))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: e, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }() // ends by Close
	e.end = func() {
		_ = server.Close() // neither of them has more to say
		_ = l.Close()      // which the server may not know yet
	}
	return nil
}

// Kill closes the endpoint's socket and connections: from now on its port refuses.
func (e *Endpoint) Kill() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.end != nil {
		e.end()
		e.end = nil
	}
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
