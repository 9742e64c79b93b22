package niceness

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Favoured is the niceness of a process that goes before others.
const Favoured = -10

// Favour has this process go before others from now on. Where that is not allowed it
// stays as it is.
func Favour() {
	for known := 0; ; { // until there are no threads made by some that had no favour yet
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil || len(threads) == known {
			return
		}
		known = len(threads)
		for _, t := range threads {
			if id, err := strconv.Atoi(t.Name()); err == nil {
				_ = unix.Setpriority(unix.PRIO_PROCESS, id, Favoured) // it may have ended
			}
		}
	}
}

// Ordinarily runs f, which starts a process, on the calling thread, to which the
// caller has locked its goroutine: what it starts goes before nobody.
func Ordinarily(f func() error) error {
	said, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return err
	}
	if nice := 20 - said; nice < 0 { // the system call says 1 for the least favoured
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, 0); err != nil {
			return err
		}
		defer func() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, nice) }()
	}
	return f()
}
