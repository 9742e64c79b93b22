package network

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// favoured is the niceness of the process that is the WAN. A network does not wait
// for the machines that it joins, and here those take all of the CPU at times.
const favoured = -10

// favour has this process go before its hosts. Where that is not allowed the WAN may
// be late, which [Network.Late] tells.
func favour() {
	for known := 0; ; { // until there are no threads made by some that had no favour yet
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil || len(threads) == known {
			return
		}
		known = len(threads)
		for _, t := range threads {
			if id, err := strconv.Atoi(t.Name()); err == nil {
				_ = unix.Setpriority(unix.PRIO_PROCESS, id, favoured) // it may have ended
			}
		}
	}
}

// unfavoured runs f, which starts the process of a host, on the calling thread.
func unfavoured(f func() error) error {
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
