//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/federator/federator/test/controlplane/node/order"
)

// makeMachine gives this mount namespace what a node has of its own. Nothing of it
// is seen outside, and all of it ends with the node.
func makeMachine(m order.Machine) error {
	// Apart from the machine's mounts, but shared within: volumes and containers
	// are mounted for all that runs here.
	err := errors.Join(
		unix.Sethostname([]byte(m.Hostname)),
		mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""),
		mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"),
		mount("tmpfs", "/sys/fs/cgroup", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755"),
	)
	if err != nil {
		return err
	}
	for _, name := range m.Hierarchies {
		if err := mountHierarchy(name); err != nil {
			return err
		}
	}
	var places []string
	for place := range m.Binds {
		places = append(places, place)
	}
	slices.Sort(places) // a directory before what is in it
	for _, place := range places {
		if err := mount(m.Binds[place], place, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

// mountHierarchy mounts a hierarchy of cgroup v1, whose root is the node's cgroup,
// and gives its controllers their usual names.
func mountHierarchy(name string) error {
	place := filepath.Join("/sys/fs/cgroup", name)
	if err := os.Mkdir(place, 0o755); err != nil {
		return err
	}
	options := name
	if name == "systemd" {
		options = "none,name=systemd"
	}
	if err := mount("cgroup", place, "cgroup", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return err
	}
	if !strings.Contains(name, ",") {
		return nil
	}
	for _, controller := range strings.Split(name, ",") {
		if err := os.Symlink(name, filepath.Join("/sys/fs/cgroup", controller)); err != nil {
			return err
		}
	}
	return nil
}

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s at %s: %w", cmp.Or(source, "nothing"), target, err)
	}
	return nil
}
