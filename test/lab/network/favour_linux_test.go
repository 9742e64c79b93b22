package network_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/niceness"
)

func TestTheWANGoesBeforeItsHostsAndTheyAsEverybodyElse(t *testing.T) {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -1); err != nil {
		t.Skipf("NOT TESTED: this process may not go before others: %v", err)
	}
	n := network.Need(t, 1, "west")
	threads, err := os.ReadDir("/proc/self/task")
	ok(t, err)
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		ok(t, err)
		if found, err := unix.Getpriority(unix.PRIO_PROCESS, id); err == nil && 20-found != niceness.Favoured {
			t.Errorf("expected every thread of the WAN's process to have niceness %d, found %d", niceness.Favoured, 20-found)
		}
	}
	for _, tc := range []struct {
		who   string
		start func(*exec.Cmd) error
		want  int
	}{
		{"a process of the WAN's", (*exec.Cmd).Start, niceness.Favoured}, // else the others show nothing
		{"a process of a host", host(t, n, "west", "one").Start, 0},
		{"a process of a fleet", fleet.New(t, "").Start, 0},
	} {
		said := &strings.Builder{}
		cmd := exec.Command("nice")
		cmd.Stdout = said
		ok(t, tc.start(cmd))
		ok(t, cmd.Wait())
		if found := strings.TrimSpace(said.String()); found != strconv.Itoa(tc.want) {
			t.Errorf("expected %s to have niceness %d, found %s", tc.who, tc.want, found)
		}
	}
}

// A process that is stopped cannot carry packets meanwhile.
func TestAWANWhoseProcessStandsStillIsLate(t *testing.T) {
	n := network.Need(t, 1, "west", "east")
	self := strconv.Itoa(os.Getpid())
	const (
		stopped = 600 * time.Millisecond
		seen    = stopped - 100*time.Millisecond // the WAN looks 20 times a second
	)
	n.Late()
	ok(t, exec.Command("sh", "-c", "kill -STOP "+self+"; sleep 0.6; kill -CONT "+self).Run())
	found := time.Duration(0)
	for deadline := time.Now().Add(20 * time.Second); found < seen && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		found = max(found, n.Late())
	}
	if found < seen {
		t.Errorf("expected the WAN to be late by about %v, found %v", stopped, found)
	}
}
