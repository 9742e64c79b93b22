package federation

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// patience is for what takes milliseconds or seconds, on a machine that may stand
// still meanwhile. What waits for it fails a test that waits in vain; it is no claim
// of how long something takes.
const patience = time.Minute

// eventually waits for a condition, or ends the test.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	if !soon(within, ok) {
		t.Fatalf("not within %s: %s", within, what)
	}
}

// soon waits for a condition, and reports whether it came true.
func soon(within time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(within); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// inTime tries what has to happen within a time, such as a drill's, before that has
// passed. On a machine that stands still for so long it can come too late: then try
// says why that proves nothing, and has twice as long. What is wrong is so each time.
func inTime(t *testing.T, name string, d time.Duration, try func(t *testing.T, name string, d time.Duration) (why string)) {
	t.Helper()
	for n := range 3 {
		why := try(t, fmt.Sprintf("%s-%d", name, n), d)
		if why == "" {
			return
		}
		t.Logf("with %s: %s", d, why)
		d *= 2
	}
	t.Fatal("not in time with twice as long, either, nor with four times")
}

// voters is how many replicas vote, as far as the agent knows.
func voters(a *agent) (count int) {
	for _, s := range a.node.Servers() {
		if s.Voter {
			count++
		}
	}
	return count
}

// leading waits for a leader among the agents, and returns which one it is.
func leading(t *testing.T, all []*agent) (at int) {
	t.Helper()
	eventually(t, patience, "somebody leads", func() bool {
		at = slices.IndexFunc(all, func(a *agent) bool { return a.node.IsLeader() })
		return at >= 0
	})
	return at
}

// handOver has another one of the agents lead. Raft gives a transfer 300 ms; one that
// it gives up may still happen, or is tried again.
func handOver(t *testing.T, all []*agent) {
	t.Helper()
	first := leading(t, all)
	eventually(t, patience, "another replica leads", func() bool {
		now := leading(t, all)
		if now == first {
			_ = all[first].node.TransferLeadership()
		}
		return now != first
	})
}
