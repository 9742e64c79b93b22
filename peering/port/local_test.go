package port_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/federator/federator/peering/port"
)

func TestALocalSocketTellsWhoCalls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := port.ListenLocal(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.(*port.LocalConn); got.UID != os.Getuid() || got.PID != os.Getpid() {
		t.Errorf("expected uid %d and pid %d, found %d and %d", os.Getuid(), os.Getpid(), got.UID, got.PID)
	}
}

func TestASocketInUseIsKeptAndAStaleOneReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := port.ListenLocal(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := port.ListenLocal(path); err == nil || !strings.Contains(err.Error(), "already running") {
		t.Errorf("in use: expected an error, found %v", err)
	}
	_ = l.Close()
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	l, err = port.ListenLocal(path)
	if err != nil {
		t.Fatalf("stale: %v", err)
	}
	_ = l.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := port.ListenLocal(path); err == nil {
		t.Error("a file in its place: expected an error")
	}
	if _, err := port.ListenLocal("/tmp/" + strings.Repeat("x", 120)); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("a long path: expected an error, found %v", err)
	}
}
