package devlab

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/federator/federator/source/file"
)

func testPlan() *Plan {
	ports := make([]int, portsNeeded())
	for i := range ports {
		ports[i] = 20000 + i
	}
	return NewPlan("/dir", ports)
}

func TestThePlanIsWhatTheManifestPromises(t *testing.T) {
	p := testPlan()
	if len(p.Replicas) != 9 || len(p.Endpoints) != 3*3+2*2+3*2 {
		t.Fatalf("%d replicas, %d endpoints", len(p.Replicas), len(p.Endpoints))
	}
	dns := map[string]string{"us-west-0": "127.0.0.1:8610", "eu-central-1": "127.0.0.1:8621", "asia-east-2": "127.0.0.1:8632"}
	taken := map[string]bool{}
	for _, r := range p.Replicas {
		if want := dns[r.Name]; want != "" && r.DNS != want {
			t.Errorf("%s: DNS on %s, want %s", r.Name, r.DNS, want)
		}
		for _, a := range []string{r.DNS, r.RPC, r.Gossip, r.HTTP} {
			if taken[a] {
				t.Errorf("%s is given twice", a)
			}
			taken[a] = true
		}
	}
	for k, s := range sites() {
		zones := map[string]bool{}
		for _, e := range p.at(s.region, "shop/checkout") {
			zones[e.Zone] = true
			if !strings.HasPrefix(e.Address, "127.10."+strconv.Itoa(k+1)+".") {
				t.Errorf("an endpoint of %s is on %s", s.region, e.Address)
			}
		}
		if len(zones) != 2 {
			t.Errorf("shop/checkout in %s is in zones %v", s.region, zones)
		}
	}
}

func TestTheServicesFilesAreValid(t *testing.T) {
	p := testPlan()
	for _, s := range sites() {
		got, err := file.Parse([]byte(p.services(s)), s.cluster)
		if err != nil {
			t.Errorf("%s: %v\n%s", s.region, err, p.services(s))
			continue
		}
		want := 2
		if s.catalog {
			want = 3
		}
		if len(got.Sets) != want || len(got.Prefixes) != 2 {
			t.Errorf("%s: %d services, %d prefixes", s.region, len(got.Sets), len(got.Prefixes))
		}
	}
}

// said is closed by the first that is written to it.
type said struct {
	once sync.Once
	did  chan struct{}
}

func (s *said) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.did) })
	return len(p), nil
}

// serveDemo serves an endpoint for as long as the test runs, and returns its address. A
// port that is free may be somebody else's a moment later: then it takes another.
func serveDemo(t *testing.T, name string) string {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		_ = l.Close()
		ctx, cancel := context.WithCancel(context.Background())
		out, done := &said{did: make(chan struct{})}, make(chan error, 1)
		go func() { done <- ServeDemo(ctx, []string{name + "=" + address}, out) }()
		select {
		case err := <-done:
			cancel()
			if !errors.Is(err, syscall.EADDRINUSE) {
				t.Fatal(err)
			}
			continue
		case <-out.did:
		}
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return address
	}
	t.Fatal("every port was taken by somebody else")
	return ""
}

func TestADemoEndpointTurnsItsHealth(t *testing.T) {
	address := serveDemo(t, "shop/a@west/a")
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) (int, string) {
		t.Helper()
		r, err := client.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		return r.StatusCode, string(b)
	}
	expect := func(path string, status int) {
		t.Helper()
		if got, _ := get(path); got != status {
			t.Errorf("%s: status %d, want %d", path, got, status)
		}
	}
	turn := func(path string) {
		t.Helper()
		for deadline := time.Now().Add(60 * time.Second); ; { // each has 10 seconds
			err := post(t.Context(), "http://"+address+path)
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	if _, body := get("/"); !strings.Contains(body, "shop/a@west/a") {
		t.Errorf("/ says %q", body)
	}
	expect("/healthz", 200)
	expect("/fail", 405)
	turn("/fail")
	expect("/healthz", 503)
	turn("/recover")
	expect("/healthz", 200)
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	s := newStarter()
	defer s.close()
	log := filepath.Join(t.TempDir(), "log")
	meek, err := s.launch("meek", log, "sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	deaf, err := s.launch("deaf", log, "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done")
	if err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(tail(log, 1), "deaf") {
		time.Sleep(5 * time.Millisecond)
	}
	stop([]*process{deaf, meek}, time.Second) // enough for who ends when asked
	if meek.running() || deaf.running() {
		t.Error("a process still runs")
	}
	if !strings.Contains(ending(meek), syscall.SIGTERM.String()) || !strings.Contains(ending(deaf), syscall.SIGKILL.String()) {
		t.Errorf("meek ended by %s, deaf by %s", ending(meek), ending(deaf))
	}
}

func TestAFigureKnowsWhetherItIsGoodEnough(t *testing.T) {
	for _, tc := range []struct {
		f  figure
		ok bool
	}{
		{figure{took: time.Second, bound: 2 * time.Second}, true},
		{figure{took: 2 * time.Second, bound: 2 * time.Second}, false},
		{figure{note: "all"}, true},
		{figure{err: io.EOF}, false},
	} {
		if tc.f.ok() != tc.ok {
			t.Errorf("%+v: ok is %v", tc.f, !tc.ok)
		}
	}
}
