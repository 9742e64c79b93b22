package devlab

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/test/leaks"
)

// TestMain also stands in for the program that a starter starts.
func TestMain(m *testing.M) {
	if os.Getenv("DEVLAB_TEST_PARENT") != "" {
		startAndHang()
		return
	}
	leaks.Main(m)
}

// startAndHang starts a child through a starter, says its pid, and hangs.
func startAndHang() {
	p, err := newStarter().launch("sleep", os.DevNull, "sleep", "1000")
	if err != nil {
		panic(err)
	}
	_, _ = os.Stdout.WriteString(strconv.Itoa(p.pid()) + "\n")
	select {}
}

func TestChildrenDieWithAParentThatIsKilled(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "DEVLAB_TEST_PARENT=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 16)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	for deadline := time.Now().Add(30 * time.Second); ; {
		state, err := os.ReadFile("/proc/" + strconv.Itoa(child) + "/stat")
		if err != nil || bytes.Contains(state, []byte(") Z ")) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("child %d outlived its parent: %s", child, state)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
