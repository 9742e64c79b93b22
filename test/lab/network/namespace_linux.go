package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace without a name, and the thread that lives in
// it.
type namespace struct {
	fd    int // its descriptor, closed by the thread
	work  chan func()
	done  chan struct{}
	close func()
}

// newNamespace makes a namespace whose only link is a loopback that is down.
func newNamespace() (*namespace, error) {
	n := &namespace{work: make(chan func()), done: make(chan struct{})}
	n.close = sync.OnceFunc(func() { close(n.done) })
	made := make(chan error, 1)
	go onThread(func() {
		if err := n.enter(); err != nil {
			made <- err
			return
		}
		defer unix.Close(n.fd)
		made <- nil
		for {
			select {
			case f := <-n.work:
				f()
			case <-n.done:
				return
			}
		}
	})
	if err := <-made; err != nil {
		return nil, err
	}
	return n, nil
}

// onThread runs f on a thread that ends with it.
func onThread(f func()) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	// The first thread of a process never ends. While this goroutine holds it,
	// another one is on another thread.
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(done)
		f()
	}()
	<-done
	runtime.UnlockOSThread()
}

// enter moves the calling thread into a new namespace.
func (n *namespace) enter() (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	path := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	if n.fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open the new network namespace: %w", err)
	}
	return nil
}

// do runs f, which must not block, on the namespace's thread.
func (n *namespace) do(f func() error) error {
	result := make(chan error, 1)
	select {
	case n.work <- func() { result <- f() }:
		return <-result
	case <-n.done:
		return errClosed
	}
}

// dial connects from within the namespace. As that may take long, it does so on
// a thread of its own.
func (n *namespace) dial(ctx context.Context, network, address string) (net.Conn, error) {
	// The descriptor is copied on the thread that closes it.
	var fd int
	err := n.do(func() (err error) {
		fd, err = unix.FcntlInt(uintptr(n.fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	done := make(chan error, 1)
	go onThread(func() {
		if err := errors.Join(unix.Setns(fd, unix.CLONE_NEWNET), unix.Close(fd)); err != nil {
			done <- fmt.Errorf("enter the network namespace of a host: %w", err)
			return
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, network, address)
		conn = c
		done <- err
	})
	if err := <-done; err != nil {
		return nil, err
	}
	return conn, nil
}
