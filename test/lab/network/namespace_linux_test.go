package network

import (
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The first thread of a process does not end with its goroutine. A namespace that
// lived in it would stay, and so would the processes that it started.
func TestNoNamespaceLivesInTheFirstThread(t *testing.T) {
	release, found := make(chan struct{}), make(chan bool)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(release)
	for range 500 { // each holds a thread, until one holds the first
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if unix.Gettid() != unix.Getpid() {
				found <- false
				<-release
				return
			}
			onThread(func() {
				if unix.Gettid() == unix.Getpid() {
					t.Error("the first thread was taken")
				}
			})
			found <- true
		})
		if <-found {
			return
		}
	}
	t.Error("expected one of 500 goroutines on the first thread, found none; the test's own may hold it")
}
