package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/source"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// run starts a Source on path and returns a function that waits for its next update.
func run(t *testing.T, path string) (next func() source.Update) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	updates, done := make(chan source.Update, 16), make(chan error, 1)
	go func() {
		done <- New(path, "west-1", slog.New(slog.DiscardHandler)).Run(ctx, func(u source.Update) { updates <- u })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return func() source.Update {
		t.Helper()
		select {
		case u := <-updates:
			return u
		case <-time.After(time.Minute):
			t.Fatal("no update in a minute")
			return source.Update{}
		}
	}
}

func content(name string) []byte {
	return fmt.Appendf(nil, "services: [{name: shop/%s, ports: [{port: 80}]}]", name)
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace writes a file whole: a test that writes it in place and is interrupted may
// have an empty one read.
func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	write(t, path+".tmp", data)
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, u source.Update, service string) {
	t.Helper()
	if u.Err != nil || len(u.Sets) != 1 || u.Sets[0].Service.Name != service {
		t.Fatalf("got %+v, want the one service %q", u, service)
	}
}

func TestAnEditIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.yaml")
	write(t, path, content("one"))
	next := run(t, path)
	expect(t, next(), "one")
	write(t, path, content("two"))
	u := next()
	for errors.Is(u.Err, errNoBytes) {
		u = next() // it was read between being emptied and being written
	}
	expect(t, u, "two")
}

func TestAFileThatIsReplacedByRenameIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.yaml")
	write(t, path, content("one"))
	next := run(t, path)
	expect(t, next(), "one")
	for _, name := range []string{"two", "three"} {
		replace(t, path, content(name))
		expect(t, next(), name)
	}
}

func TestASymbolicLinkThatIsSwappedIsSeen(t *testing.T) {
	dir := t.TempDir() // as Kubernetes lays out a ConfigMap
	for _, name := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(dir, ".."+name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, ".."+name, "services.yaml"), content(name))
	}
	link := func(name string) {
		t.Helper()
		tmp := filepath.Join(dir, "..tmp")
		if err := os.Symlink(".."+name, tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	link("one")
	path := filepath.Join(dir, "services.yaml")
	if err := os.Symlink("..data/services.yaml", path); err != nil {
		t.Fatal(err)
	}
	next := run(t, path)
	expect(t, next(), "one")
	link("two")
	expect(t, next(), "two")
}

func TestABadEditSaysWhyAndAGoodOneHealsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.yaml")
	write(t, path, content("one"))
	next := run(t, path)
	expect(t, next(), "one")
	replace(t, path, []byte("services: 7"))
	bad := next()
	if bad.Err == nil || !strings.Contains(bad.Err.Error(), "line 1") || bad.StaleSince.IsZero() || bad.Sets != nil {
		t.Fatalf("got %+v, want an error with its line and time, and no sets", bad)
	}
	replace(t, path, []byte("services: 8"))
	if worse := next(); worse.Err == nil || !worse.StaleSince.Equal(bad.StaleSince) {
		t.Fatalf("got %+v, want an error that began at %v", worse, bad.StaleSince)
	}
	replace(t, path, content("one"))
	expect(t, next(), "one")
}

func TestAMissingFileIsAnErrorUntilItAppears(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	path := filepath.Join(dir, "services.yaml")
	next := run(t, path)
	if u := next(); u.Err == nil || u.StaleSince.IsZero() {
		t.Fatalf("got %+v, want an error", u)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	replace(t, path, content("one"))
	expect(t, next(), "one")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if u := next(); u.Err == nil || u.Sets != nil {
		t.Fatalf("got %+v, want an error", u)
	}
	replace(t, path, content("one"))
	expect(t, next(), "one")
}

func TestWhatIsNoRegularFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	if u := run(t, dir)(); u.Err == nil || !strings.Contains(u.Err.Error(), "regular file") {
		t.Fatalf("got %+v, want an error about the kind of file", u)
	}
}
