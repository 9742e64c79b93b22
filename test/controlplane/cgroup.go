//go:build linux

package controlplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where the hierarchies of cgroup v1 are mounted.
const cgroupRoot = "/sys/fs/cgroup"

// neededControllers are those without which a kubelet does not start.
var neededControllers = [...]string{"cpu", "cpuacct", "cpuset", "memory", "pids"}

// hierarchies are the mounted hierarchies of cgroup v1, by the name of their
// directory, with this process's path in each.
func hierarchies() (map[string]string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	controllers := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || fields[1] == "" {
			continue // of cgroup v2
		}
		name := strings.TrimPrefix(fields[1], "name=")
		if _, err := os.Stat(filepath.Join(cgroupRoot, name, "cgroup.procs")); err != nil {
			continue
		}
		found[name] = fields[2]
		for _, c := range strings.Split(name, ",") {
			controllers[c] = true
		}
	}
	for _, c := range neededControllers {
		if !controllers[c] {
			return nil, fmt.Errorf("expected the controller %s of cgroup v1 below %s, found %q in /proc/self/cgroup; nodes need cgroup v1", c, cgroupRoot, text)
		}
	}
	return found, nil
}

// nodeCgroups makes a cgroup for a node in each hierarchy, notes them in the record
// and returns their paths by hierarchy. Each is below this process's, so that a
// test that is niced or frozen has its pods so, too; but not that of memory, whose
// cgroups belong to what accounts for processes, and could not be removed by it
// while there is one below.
func nodeCgroups(r *record, cluster string) (map[string]string, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	paths := map[string]string{}
	for name, own := range all {
		parent := filepath.Join(cgroupRoot, name, own)
		// In a container this process's path can be one of the machine's, unseen here.
		if _, err := os.Stat(parent); err != nil || name == "memory" {
			parent = filepath.Join(cgroupRoot, name)
		}
		path := filepath.Join(parent, fmt.Sprintf("federator-controlplane-%d-%s", r.number, cluster))
		if err := errors.Join(r.note(recordCgroup, path), removeCgroup(path), os.Mkdir(path, 0o755)); err != nil {
			return nil, fmt.Errorf("make a cgroup for the node: %w", err)
		}
		paths[name] = path
		if name == "cpuset" {
			if err := copyCpuset(parent, path); err != nil {
				return nil, err
			}
		}
	}
	return paths, nil
}

// copyCpuset gives a cpuset, which starts empty and then takes no process, what its
// parent has, and has its children made so, too.
func copyCpuset(parent, path string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		text, err := os.ReadFile(filepath.Join(parent, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(path, name), text, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(path, "cgroup.clone_children"), []byte("1"), 0o644)
}

// enterCgroups moves a process.
func enterCgroups(paths map[string]string, pid int) error {
	for _, path := range paths {
		if err := os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("move the node into its cgroup: %w", err)
		}
	}
	return nil
}

// removeCgroup removes a cgroup and those below it, whose processes are killed.
func removeCgroup(path string) error {
	var errs []error
	for deadline := time.Now().Add(goneWithin); ; time.Sleep(20 * time.Millisecond) {
		errs = nil
		for _, dir := range cgroupsBelow(path) {
			killAll(filepath.Join(dir, "cgroup.procs"))
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("remove the cgroup %s: %w", dir, err))
			}
		}
		if len(errs) == 0 || time.Now().After(deadline) {
			return errors.Join(errs...)
		}
	}
}

// cgroupsBelow are a directory and those below it, the deepest first.
func cgroupsBelow(path string) []string {
	var dirs []string
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append([]string{p}, dirs...)
		}
		return nil // what vanishes meanwhile need not be removed
	})
	return dirs
}

// killAll kills the processes that a file lists.
func killAll(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		return // the cgroup is gone
	}
	for _, word := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil && pid > 0 {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by itself
		}
	}
}
