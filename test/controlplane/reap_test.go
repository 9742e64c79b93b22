//go:build linux

package controlplane

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leftovers is all of a world that can be found on this machine.
func leftovers(t *testing.T, number int, dir string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	add := func(kind, what string) { found[kind] = append(found[kind], what) }
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	ok(t, err)
	for _, path := range commands {
		// Those that are gone meanwhile are not left over.
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), dir+"/") {
			add("process", path+": "+strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	for _, path := range []string{dir, recordPath(number), filepath.Join("/sys/class/net", hostLink(number))} {
		if _, err := os.Lstat(path); err == nil {
			add("path", path)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	ok(t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir+"/") || strings.Contains(line, "cni-") {
			add("mount", line)
		}
	}
	ok(t, filepath.WalkDir(cgroupRoot, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), fmt.Sprintf("federator-controlplane-%d-", number)) {
			add("cgroup", path)
		}
		return nil // cgroups of others come and go
	}))
	routes, err := os.ReadFile("/proc/net/route")
	ok(t, err)
	if strings.Contains(string(routes), hostLink(number)+"\t") {
		add("route", string(routes))
	}
	return found
}

// remains is what is left of a world that is gone. Somebody else can have its number by
// now: then it is what its directory tells.
func remains(t *testing.T, number int, dir string) map[string][]string {
	t.Helper()
	lock, err := tryLock(number)
	ok(t, err)
	found := leftovers(t, number, dir)
	if lock != nil {
		ok(t, lock.Close())
		return found
	}
	for kind, all := range found {
		found[kind] = slices.DeleteFunc(all, func(what string) bool { return !strings.Contains(what, dir) })
		if len(found[kind]) == 0 {
			delete(found, kind)
		}
	}
	return found
}

func TestNothingIsLeftOfAWorldThatWasClosed(t *testing.T) {
	if !Wanted() {
		t.Skipf("real control planes take root, minutes and memory; set %s=1", Variable)
	}
	w, err := Start(t.Context(), Options{Clusters: []string{"us-west"}, Nodes: true})
	ok(t, err)
	if _, err := w.Clusters[0].RunWorkload(within(t, 2*time.Minute), "default", "echo", nil); err != nil {
		t.Errorf("%v\n%s", err, w.Tails(20))
	}
	number, dir := w.record.number, w.dir
	// The check finds what there is.
	for _, kind := range []string{"process", "path", "cgroup", "route"} {
		if len(leftovers(t, number, dir)[kind]) == 0 {
			t.Errorf("expected to find a %s of a world that lives, found none", kind)
		}
	}
	ok(t, w.Close())
	ok(t, w.Close()) // again
	if found := remains(t, number, dir); len(found) != 0 {
		t.Errorf("expected nothing to be left, found %q", found)
	}
}

func TestNothingIsLeftOfAWorldWhoseTestWasKilledOnceTheNextReaps(t *testing.T) {
	if !Wanted() {
		t.Skipf("real control planes take root, minutes and memory; set %s=1", Variable)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), abandonVariable+"=1")
	child.Stderr = os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := child.StdoutPipe()
	ok(t, err)
	ok(t, child.Start())
	t.Cleanup(func() {
		_ = child.Process.Kill() // it is dead, unless this test failed
		_ = child.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	ok(t, err)
	var number int
	var dir string
	if _, err := fmt.Sscan(line, &number, &dir); err != nil {
		t.Fatalf("expected a number and a directory, found %q: %v", line, err)
	}
	for _, kind := range []string{"process", "path", "cgroup", "route"} {
		if len(leftovers(t, number, dir)[kind]) == 0 {
			t.Errorf("expected to find a %s of a world that lives, found none", kind)
		}
	}
	ok(t, child.Process.Kill())
	_ = child.Wait() // it was killed
	for deadline := time.Now().Add(2 * time.Minute); len(leftovers(t, number, dir)["process"]) != 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("expected the kernel to have ended all processes, found %q", leftovers(t, number, dir)["process"])
		}
	}
	ok(t, Until(t.Context(), 2*time.Minute, "nothing to be left", func(context.Context) error {
		ok(t, Reap()) // unless somebody else is at it
		if found := remains(t, number, dir); len(found) != 0 {
			return fmt.Errorf("found %q", found)
		}
		return nil
	}))
}
