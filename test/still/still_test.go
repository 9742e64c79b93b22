//go:build unix

package still_test

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/federator/federator/test/still"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAProcessThatIsStoppedFindsThatItStoodStillOnce(t *testing.T) {
	const stopped = 600 * time.Millisecond
	told := make(chan time.Duration, 100)
	w := still.Begin(func(gap time.Duration) { told <- gap })
	defer w.End()
	self := strconv.Itoa(os.Getpid())
	other := exec.Command("sh", "-c", "kill -STOP "+self+"; sleep 0.6; kill -CONT "+self)
	if err := other.Run(); err != nil {
		t.Fatal(err)
	}
	const noticed = stopped - 100*time.Millisecond // the first tick after may have been due during it
	deadline := time.After(20 * time.Second)
	for gap := time.Duration(0); gap < noticed; { // a busy machine adds shorter ones
		select {
		case gap = <-told:
		case <-deadline:
			t.Fatalf("expected to be told that the process stood still for about %v, found nothing", stopped)
		}
		if gap < still.Least {
			t.Errorf("expected to be told of %v or more, found %v", still.Least, gap)
		}
	}
	if longest := w.Longest(); longest < noticed {
		t.Errorf("expected that it stood still for about %v, found %v", stopped, longest)
	}
	w.End()
	if longest := w.Longest(); len(told) == 0 && longest != 0 {
		t.Errorf("expected nothing the second time, found %v", longest)
	}
}

func TestThatProcessesOfOursWaitForACPUIsNoticed(t *testing.T) {
	if _, err := os.ReadFile("/proc/self/schedstat"); err != nil {
		t.Skipf("NOT TESTED: this kernel does not say how long threads wait for a CPU: %v", err)
	}
	w := still.Begin(nil)
	defer w.End()
	for range 4 * runtime.NumCPU() { // each waits three quarters of the time
		busy := exec.Command("sh", "-c", "while :; do :; done")
		if err := busy.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = busy.Process.Kill() // it never ends by itself
			_ = busy.Wait()         // it was killed
		}()
	}
	for deadline := time.Now().Add(20 * time.Second); w.Longest() == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("expected to notice that processes wait for a CPU, found nothing")
		}
	}
}
