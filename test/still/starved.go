package still

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// thread is one of a process that this one started.
type thread struct{ process, id string }

// waits are how long each thread has waited for a CPU in its life, where the kernel
// says it (Linux with schedstat).
type waits map[thread]time.Duration

// ofChildren reads them of the processes that this one started.
func ofChildren() waits {
	all := waits{}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil // cannot be: the pattern is one
	}
	self := strconv.Itoa(os.Getpid())
	for _, process := range processes {
		if parent(process) != self {
			continue
		}
		threads, err := os.ReadDir(process + "/task")
		if err != nil {
			continue // it has ended
		}
		for _, t := range threads {
			if waited, ok := waited(process + "/task/" + t.Name()); ok {
				all[thread{process, t.Name()}] = waited
			}
		}
	}
	return all
}

// parent is the id of a process's parent, "" if it has ended.
func parent(process string) string {
	b, err := os.ReadFile(process + "/stat")
	if err != nil {
		return ""
	}
	_, rest, _ := bytes.Cut(b[bytes.LastIndexByte(b, ')')+1:], []byte(" ")) // the name may have spaces
	fields := bytes.Fields(rest)                                            // the state, the parent
	if len(fields) < 2 {
		return ""
	}
	return string(fields[1])
}

// waited is for how long a thread has waited for a CPU in its life.
func waited(thread string) (time.Duration, bool) {
	b, err := os.ReadFile(thread + "/schedstat")
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(b)) // nanoseconds on a CPU, nanoseconds of waiting for one, turns
	if len(fields) < 2 {
		return 0, false
	}
	n, err := strconv.ParseInt(fields[1], 10, 64)
	return time.Duration(n), err == nil
}

// since is the longest that a thread has waited since an earlier look at them.
func (w waits) since(before waits) time.Duration {
	longest := time.Duration(0)
	for t, now := range w {
		if then, known := before[t]; known {
			longest = max(longest, now-then)
		}
	}
	return longest
}
