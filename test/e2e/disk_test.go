package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

func TestAFullDiskIsNamedStopsNoLookupAndLosesNothing(t *testing.T) {
	f := newFleet(t)
	if os.Getuid() != 0 {
		t.Skip("a small file system can be mounted by root only")
	}
	endpoints := f.Endpoints(1)
	f.Serve("west", fleet.ServicesFile(checkout, endpoints...))
	west := f.Place("west", "west-0")
	if err := os.MkdirAll(west.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", west.Dir).CombinedOutput(); err != nil {
		t.Skipf("no small file system here: %v: %s", err, out)
	}
	// The directory goes with the fleet, so it must be unmounted before.
	f.BeforeRemoval(func() { _ = exec.Command("umount", "-l", west.Dir).Run() })
	f.Run(append([]string{"init", "--trust-domain", fleet.TrustDomain}, west.Placing()...)...).OK(t)
	west.Start()
	west.Ready()
	f.AnswersAll(10*time.Second, f.Replicas(""), checkout, "west", endpoints...)
	apply(f, west, "shop/first", "west").OK(t)

	ballast := filepath.Join(west.Dir, "ballast")
	fill(t, ballast)
	refused := false
	for i := 0; i < 20 && !refused; i++ {
		document := manyEndpoints(fmt.Sprintf("shop/large-%d", i), 400)
		refused = f.Pipe(document, "services", "apply", "-f", "-", "--socket", west.Sock, "--timeout", "3s").Code != 0
	}
	if !refused {
		t.Error("expected a write to be refused while the disk is full")
	}
	f.Until(20*time.Second, "check to name the full disk", func() error {
		problems, err := west.Problems()
		if err == nil && problems["disk"] == nil {
			err = errors.New("check does not list it")
		}
		return err
	})
	if err := west.Answers(fleet.ServiceName(checkout), endpoints[0].Address); err != nil {
		t.Error(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	f.Until(20*time.Second, "writes to succeed again", func() error {
		if r := apply(f, west, "shop/last", "west"); r.Code != 0 {
			return errors.New(r.Err)
		}
		return nil
	})
	west.Kill()
	west.Start()
	west.Ready()
	f.Until(10*time.Second, "what was acknowledged", func() error { return policiesAre(west, "shop/first", "shop/last") })
	f.AnswersAll(10*time.Second, f.Replicas(""), checkout, "west", endpoints...)
}

// manyEndpoints is a services file with one large service.
func manyEndpoints(service string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "services:\n  - name: %s\n    ports: [{name: http, port: 80}]\n    endpoints:\n", service)
	for i := range n {
		fmt.Fprintf(&b, "      - {address: 10.0.%d.%d}\n", i/256, i%256)
	}
	return b.String()
}

// fill writes a file until the file system has no room left.
func fill(t *testing.T, path string) {
	t.Helper()
	b, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for size := 64 << 10; size > 0; {
		if _, err := b.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	_ = b.Close() // it is full, as it should be
}
