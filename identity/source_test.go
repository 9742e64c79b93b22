package identity

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestASourceSurvivesARestart(t *testing.T) {
	w := newWorld(t, start)
	dir := filepath.Join(t.TempDir(), "identity")
	s := must(OpenSource(dir))(t)
	if _, err := s.ID(); s.Leaf() != nil || s.Chain() != nil || !s.NotAfter().IsZero() || err == nil || s.Valid(start) {
		t.Fatal("a new source has a certificate")
	}
	_, err := s.certificate(false)
	wantIs(t, err, ErrNoSVID)
	w.certify(s, w.west, "a", time.Hour, start)

	again := must(OpenSource(dir))(t)
	if !again.key.Equal(s.key) || !bytes.Equal(again.Chain()[0], s.Chain()[0]) || len(again.Chain()) != 3 {
		t.Fatal("another identity came back")
	}
	if id := must(again.ID())(t); id != ReplicaID(td, "us-west", "a") || !again.NotAfter().Equal(start.Add(time.Hour)) {
		t.Fatalf("found %s", id)
	}
	if !again.Valid(start) || again.Valid(start.Add(2*time.Hour)) {
		t.Fatal("validity is wrong")
	}
	info := must(os.Stat(filepath.Join(dir, keyFile)))(t)
	if info.Mode().Perm() != 0o600 {
		t.Fatalf("the key has mode %v", info.Mode())
	}
	if left := must(os.ReadDir(dir))(t); len(left) != 2 {
		t.Fatalf("files left over: %v", left)
	}
}

func TestADamagedIdentityIsNamedAndKept(t *testing.T) {
	w := newWorld(t, start)
	for name, c := range map[string]struct{ file, content, want string }{
		"a broken certificate": {svidFile, "garbage", "remove the file"},
		"a broken key":         {keyFile, "garbage", "restore it from a backup"},
		"an empty key":         {keyFile, "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", "key.pem"},
		"an endless file":      {keyFile, strings.Repeat("x", maxPEM+1), "expected at most"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w.certify(must(OpenSource(dir))(t), w.west, "a", time.Hour, start)
			path := filepath.Join(dir, c.file)
			check(t, WriteFile(path, []byte(c.content), 0o600))
			if _, err := OpenSource(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("expected %q, found %v", c.want, err)
			}
			if got := must(os.ReadFile(path))(t); string(got) != c.content {
				t.Fatal("the damaged file was changed")
			}
		})
	}
}

func TestAFailedWriteKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	if err := WriteFile(filepath.Join(dir, "missing", "file"), nil, 0o600); err == nil {
		t.Fatal("wrote into a folder that does not exist")
	}
	// A folder cannot be replaced by a file.
	check(t, os.Mkdir(filepath.Join(dir, "taken"), 0o700))
	if err := WriteFile(filepath.Join(dir, "taken"), []byte("x"), 0o600); err == nil {
		t.Fatal("a folder was replaced")
	}
	if left := must(os.ReadDir(dir))(t); len(left) != 1 {
		t.Fatalf("files left over: %v", left)
	}
}
