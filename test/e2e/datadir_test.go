package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

func TestASecondAgentOnADataDirectoryIsToldWhoHasIt(t *testing.T) {
	f := quickFleet(t)
	west := f.Init("west")
	f.Run("agent", "--data-dir", west.Dir, "--http", "off").
		Fails(t, 1, west.Dir, "in use by another federator process", fmt.Sprint(west.PID()), "stop that one first")
	west.Ready()
	f.Run(append([]string{"init", "--trust-domain", "other.example"}, west.Placing()...)...).
		Fails(t, 1, "already holds replica west-0 of region west", "another directory")
	f.Run("agent", "--data-dir", filepath.Join(f.Dir, "none"), "--http", "off").
		Fails(t, 1, "no replica", "federator init or federator join")
}

// broken makes an agent start on what a test did to its directory, and end. It
// checks that the error says all the words and that no file is gone.
func broken(t *testing.T, r *fleet.Replica, words ...string) {
	t.Helper()
	before := files(t, r.Dir)
	r.Start()
	code, last, err := r.Ended(20 * time.Second) // on a busy machine
	if err != nil {
		r.Kill()
		t.Fatal(err)
	}
	if code != 1 {
		t.Errorf("expected exit code 1, found %d", code)
	}
	for _, w := range words {
		if !strings.Contains(last, w) {
			t.Errorf("expected an error that says %q, found %q", w, last)
		}
	}
	for path := range before {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("the agent deleted a file: %v", err)
		}
	}
}

// files are the contents of all files below a directory.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		found[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func put(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// spoil overwrites every seventh byte of a file from an offset on.
func spoil(t *testing.T, path string, from int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := from; i < len(b); i += 7 {
		b[i] ^= 0x5a
	}
	put(t, path, b)
}

func TestADamagedDataDirectoryIsNamedAndLeftAlone(t *testing.T) {
	f := newFleet(t)
	endpoints := f.Endpoints(1)
	f.Serve("west", fleet.ServicesFile(checkout, endpoints...))
	west := f.Init("west")
	east := f.Join(west, "east", "east-0")
	f.AnswersAll(10*time.Second, f.Replicas(""), checkout, "west", endpoints...)
	west.Stop()
	east.Stop()
	good, other := files(t, west.Dir), files(t, east.Dir)
	in := func(name string) string { return filepath.Join(west.Dir, name) }

	for _, tt := range []struct {
		name  string
		spoil func()
		says  []string
	}{
		{"the card of another region", func() { put(t, in("replica.json"), other[filepath.Join(east.Dir, "replica.json")]) },
			[]string{"east", "west", "copied"}},
		{"no card", func() { put(t, in("replica.json"), []byte("{")) }, []string{in("replica.json"), "damaged"}},
		{"a corrupt Raft log", func() { spoil(t, in("raft/raft.db"), 0) }, []string{in("raft"), "corrupt", "nothing was deleted"}},
		{"a log with damaged pages", func() { spoil(t, in("raft/raft.db"), 8200) }, []string{in("raft"), "corrupt", "nothing was deleted"}},
		{"a Raft log that was cut short", func() { put(t, in("raft/raft.db"), good[in("raft/raft.db")][:5000]) },
			[]string{in("raft"), "corrupt", "nothing was deleted"}},
		{"a corrupt trust list", func() { spoil(t, in("identity/trust.list"), 0) }, []string{in("identity/trust.list")}},
		{"a corrupt key", func() { spoil(t, in("identity/key.pem"), 0) }, []string{in("identity/key.pem")}},
		{"a corrupt seal key", func() { spoil(t, in("identity/seal.key"), 0) }, []string{in("identity/seal.key")}},
		{"a corrupt certificate", func() { spoil(t, in("identity/svid.pem"), 0) }, []string{in("identity/svid.pem")}},
		{"a corrupt keyring", func() { spoil(t, in("identity/keyring.sealed"), 0) }, []string{in("identity/keyring.sealed")}},
		{"the identity of another replica", func() {
			for path, b := range other {
				if rest, ok := strings.CutPrefix(path, filepath.Join(east.Dir, "identity")+"/"); ok {
					put(t, in("identity/"+rest), b)
				}
			}
		}, []string{"east-0", "west-0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				for path, b := range good {
					put(t, path, b)
				}
			}()
			tt.spoil()
			broken(t, west, tt.says...)
		})
	}

	spoil(t, in("imports.db"), 0)                              // only a cache: it is fetched again
	if _, ok := good[in("identity/intermediate.sealed")]; ok { // the region's log has it, too
		spoil(t, in("identity/intermediate.sealed"), 0)
	}
	west.Start()
	east.Start()
	west.Ready()
	east.Ready()
	f.AnswersAll(10*time.Second, f.Replicas(""), checkout, "west", endpoints...)
	if log := west.Log(0); !strings.Contains(log, in("imports.db")) {
		t.Errorf("expected the log to name the cache that was set aside:\n%s", log)
	}
	if aside, _ := filepath.Glob(in("imports.db*")); len(aside) < 2 {
		t.Errorf("expected the corrupt cache to be kept beside the new one, found %v", aside)
	}
}
