package network_test

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/federator/federator/test/lab/network"
)

// crashVariable makes the test program build a lab, print what is in it, and wait
// to be killed.
const crashVariable = "LAB_NETWORK_CRASH"

// crash prints the namespaces and the process that it made.
func crash() int {
	n, err := network.New(1, "west", "east")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	h, err := n.Host("west", "a")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	cmd := exec.Command("sleep", "600")
	if err := h.Start(cmd); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(cmd.Process.Pid, strings.Join(slices.Sorted(maps.Keys(own())), " "))
	time.Sleep(10 * time.Minute)
	return 0
}

// namespaces are the network namespaces that any thread of this machine is in.
func namespaces() map[string]bool { return in("/proc/[0-9]*/task/[0-9]*/ns/net") }

// own are those of this process's threads, but the one of its first.
func own() map[string]bool {
	found := in("/proc/self/task/[0-9]*/ns/net")
	first, _ := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", os.Getpid()))
	delete(found, first)
	return found
}

func in(pattern string) map[string]bool {
	found := map[string]bool{}
	paths, _ := filepath.Glob(pattern)
	for _, path := range paths {
		if id, err := os.Readlink(path); err == nil { // else it has just ended
			found[id] = true
		}
	}
	return found
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10s for %s", what)
		}
	}
}

func TestAfterCloseNoNamespaceThreadOrProcessIsLeft(t *testing.T) {
	until(t, "the namespaces of tests before to go", func() bool { return len(own()) == 0 })
	n := network.Need(t, 1, "west", "east")
	h := host(t, n, "west", "a")
	if found := len(own()); found != 3 {
		t.Errorf("expected the namespaces of two regions and a host, found %d", found)
	}
	cmd := exec.Command("sleep", "600")
	ok(t, h.Start(cmd))
	inside, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	ok(t, err)
	if !own()[inside] {
		t.Error("a process of a host is not in the host's namespace")
	}
	ok(t, n.Close())
	_ = cmd.Wait()
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Errorf("expected the process to be killed, found %v", cmd.ProcessState)
	}
	until(t, "the namespaces to go", func() bool { return len(own()) == 0 && !namespaces()[inside] })
	if err := h.Start(exec.Command("true")); err == nil {
		t.Error("a process was started in a closed network")
	}
	if c, err := h.DialContext(context.Background(), "udp", "10.2.0.2:7"); err == nil {
		_ = c.Close()
		t.Error("a socket was opened in a closed network")
	}
	ok(t, n.Close())
}

func TestAfterACrashNoNamespaceOrProcessIsLeft(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			_ = network.Need(t, 1, "west") // skips where there can be none
			lab := exec.Command(os.Args[0])
			lab.Env = append(os.Environ(), crashVariable+"=1")
			out, err := lab.StdoutPipe()
			ok(t, err)
			ok(t, lab.Start())
			defer func() { _ = lab.Process.Kill() }() // if the test ends before
			line, _ := bufio.NewReader(out).ReadString('\n')
			words := strings.Fields(line)
			if len(words) != 4 {
				t.Fatalf("expected a process and three namespaces, found %q", line)
			}
			child := "/proc/" + words[0] + "/ns/net" // none of a dead process, also before it is reaped
			if inside, err := os.Readlink(child); err != nil || !slices.Contains(words[1:], inside) {
				t.Fatalf("expected process %s in one of the namespaces %v, found %q, %v", words[0], words[1:], inside, err)
			}
			ok(t, lab.Process.Signal(signal))
			_ = lab.Wait() // it was killed
			until(t, "the lab's process and namespaces to go", func() bool {
				found := namespaces()
				_, err := os.Readlink(child)
				return err != nil && !slices.ContainsFunc(words[1:], func(id string) bool { return found[id] })
			})
		})
	}
}
