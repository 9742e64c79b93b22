package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// server answers lists and watches of EndpointSlices over HTTP as an API server
// does, and can be stopped and set back to an older state as a real one cannot be
// in a test of milliseconds.
type server struct {
	t    *testing.T
	addr string

	mu      sync.Mutex
	version uint64
	slices  map[string]*discoveryv1.EndpointSlice
	events  []event
	absent  bool // the server knows no Multi-Cluster Services
	own     bool // it knows federator's own kinds
	// forbidden is the path of a kind that nobody may read.
	forbidden string
	broken    int // so many more requests for all there is are answered 500
	changed   chan struct{}
	lists     int
	http      *http.Server
}

// The paths that the server knows.
const (
	builtIn = "/apis/discovery.k8s.io/v1/endpointslices"
	custom  = "/apis/multicluster.x-k8s.io/v1beta1/"
	own     = "/apis/federator.dev/v1alpha1/resolutionpolicies"
)

type event struct {
	version uint64
	kind    string
	slice   *discoveryv1.EndpointSlice
}

func newServer(t *testing.T) *server {
	s := &server{t: t, version: 100, slices: map[string]*discoveryv1.EndpointSlice{}, changed: make(chan struct{}), addr: "127.0.0.1:0"}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *server) start() {
	listener, err := net.Listen("tcp", s.addr)
	// While it is away somebody's connection to elsewhere may have been given its port.
	for deadline := time.Now().Add(30 * time.Second); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
		listener, err = net.Listen("tcp", s.addr)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = listener.Addr().String()
	s.http = &http.Server{Handler: s}
	go func(h *http.Server) { _ = h.Serve(listener) }(s.http)
}

func (s *server) stop() { _ = s.http.Close() }

func (s *server) config() *rest.Config {
	return &rest.Config{Host: "http://" + s.addr, Timeout: requestTimeout, QPS: 1000, Burst: 1000}
}

func (s *server) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *server) put(name string, addresses ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, ResourceVersion: fmt.Sprint(s.version)}, AddressType: discoveryv1.AddressTypeIPv4}
	for _, a := range addresses {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	kind := "ADDED"
	if s.slices[name] != nil {
		kind = "MODIFIED"
	}
	s.slices[name] = slice
	s.events = append(s.events, event{s.version, kind, slice})
	s.wake()
}

// restore sets the server back to a state of the past, with its version.
func (s *server) restore(version uint64, slices map[string]*discoveryv1.EndpointSlice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version, s.slices, s.events = version, slices, nil
	s.wake()
}

func (s *server) counted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists
}

// ServeHTTP implements [http.Handler].
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	absent, known, forbidden := s.absent, s.own && r.URL.Path == own, r.URL.Path == s.forbidden
	broken := s.broken > 0 && r.URL.Path == builtIn && r.URL.Query().Get("limit") != "1"
	if broken {
		s.broken--
	}
	s.mu.Unlock()
	switch {
	case forbidden:
		http.Error(w, "forbidden", http.StatusForbidden)
	case broken:
		http.Error(w, "etcdserver: no leader", http.StatusInternalServerError)
	case known && r.URL.Query().Get("watch") == "":
		s.list(w, r)
	case known:
		s.watch(w, r)
	case absent && strings.HasPrefix(r.URL.Path, custom), !strings.HasPrefix(r.URL.Path, custom) && r.URL.Path != builtIn:
		http.Error(w, "not found", http.StatusNotFound)
	case r.URL.Query().Get("watch") != "":
		s.watch(w, r)
	default:
		s.list(w, r)
	}
}

func (s *server) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := &discoveryv1.EndpointSliceList{TypeMeta: metav1.TypeMeta{Kind: "EndpointSliceList", APIVersion: "discovery.k8s.io/v1"}, ListMeta: metav1.ListMeta{ResourceVersion: fmt.Sprint(s.version)}}
	if r.URL.Path != builtIn {
		kinds := map[string]string{own: "ResolutionPolicyList", custom + "serviceexports": "ServiceExportList", custom + "serviceimports": "ServiceImportList"}
		group := strings.TrimPrefix(r.URL.Path[:strings.LastIndex(r.URL.Path, "/")], "/apis/")
		list.TypeMeta = metav1.TypeMeta{Kind: kinds[r.URL.Path], APIVersion: group}
	} else {
		if r.URL.Query().Get("limit") != "1" { // the check's
			s.lists++
		}
		for _, slice := range s.slices {
			list.Items = append(list.Items, *slice)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

// watch sends what happened since a version, and as a real server silently nothing
// where that version is still to come.
func (s *server) watch(w http.ResponseWriter, r *http.Request) {
	since, _ := strconv.ParseUint(r.URL.Query().Get("resourceVersion"), 10, 64)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		s.mu.Lock()
		changed := s.changed
		var due []event
		for _, e := range s.events {
			if e.version > since {
				due = append(due, e)
				since = e.version
			}
		}
		s.mu.Unlock()
		if r.URL.Path != builtIn {
			due = nil
		}
		for _, e := range due {
			slice := *e.slice
			slice.TypeMeta = metav1.TypeMeta{Kind: "EndpointSlice", APIVersion: "discovery.k8s.io/v1"}
			_ = json.NewEncoder(w).Encode(map[string]any{"type": e.kind, "object": &slice})
		}
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}
