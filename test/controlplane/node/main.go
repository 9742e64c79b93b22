//go:build linux

// Command node is the first process of a node of test/controlplane: it is started
// in process id, mount, network and host name namespaces of its own, and with its
// end the kernel ends all that runs in them. It ends when its standard input does,
// which is at the latest when the test is gone.
//
// It reads orders, one JSON object a line, and answers each with another; the
// first order is the machine to be. Programs that it starts are not restarted.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/federator/federator/test/controlplane/node/order"
)

// inCgroupVariable says that this process is in its cgroup namespace already.
const inCgroupVariable = "FEDERATOR_NODE_IN_CGROUP"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	if os.Getpid() != 1 {
		return fmt.Errorf("expected to be the first process of a namespace, found process %d: the tests start this", os.Getpid())
	}
	if os.Getenv(inCgroupVariable) == "" {
		return enterCgroupNamespace()
	}
	children := newChildren()
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var o order.Order
		err := json.Unmarshal(in.Bytes(), &o)
		if err == nil {
			err = carryOut(o, children)
		}
		answer := order.Answer{}
		if err != nil {
			answer.Error = err.Error()
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return in.Err()
}

// enterCgroupNamespace waits for one byte, which says that this process is in its
// cgroups, makes these the roots that it sees, and begins again.
func enterCgroupNamespace() error {
	if _, err := unix.Read(0, make([]byte, 1)); err != nil {
		return err
	}
	// A namespace is a thread's; the one that calls exec is the only one left.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("make a cgroup namespace: %w", err)
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), inCgroupVariable+"=1"))
}

func carryOut(o order.Order, children *children) error {
	switch {
	case o.Machine != nil:
		return makeMachine(*o.Machine)
	case o.Start != nil:
		return children.start(*o.Start)
	case o.Kill != "":
		return children.kill(o.Kill)
	case o.Alive != "":
		return children.alive(o.Alive)
	}
	return fmt.Errorf("expected an order, found none")
}
