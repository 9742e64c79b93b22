//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/federator/federator/test/controlplane/node/order"
)

// children are the programs that this process started. As the first process it
// also has those whose parents are gone, such as the shims of containers, and
// looks at each end, so that none stays a zombie.
type children struct {
	mu      sync.Mutex     // held while one is started, so that it is known before it ends
	running map[string]int // process ids
	changed chan struct{}  // closed and made anew whenever one ends
}

func newChildren() *children {
	c := &children{running: map[string]int{}, changed: make(chan struct{})}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	go func() {
		for range ended {
			c.reap()
		}
	}()
	return c
}

// reap looks at all ends there are.
func (c *children) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
		for name, of := range c.running {
			if of == pid {
				delete(c.running, name)
			}
		}
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

func (c *children) start(s order.Start) error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if pid := c.running[s.Name]; pid != 0 {
		return fmt.Errorf("%s runs already, as process %d", s.Name, pid)
	}
	pid, err := syscall.ForkExec(s.Argv[0], s.Argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"},
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", s.Argv[0], err)
	}
	c.running[s.Name] = pid
	return nil
}

// goneWithin is how long a program that was killed has to be gone: on a machine that stands
// still even the kernel takes its time.
const goneWithin = time.Minute

func (c *children) kill(name string) error {
	timeout := time.After(goneWithin)
	for {
		c.mu.Lock()
		pid, changed := c.running[name], c.changed
		c.mu.Unlock()
		if pid == 0 {
			return nil
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill %s: %w", name, err)
		}
		select {
		case <-changed:
		case <-timeout:
			return fmt.Errorf("%s is not gone %s after it was killed", name, goneWithin)
		}
	}
}

func (c *children) alive(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running[name] == 0 {
		return fmt.Errorf("%s does not run", name)
	}
	return nil
}
