package reap_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/reap"
)

// dieVariable has the test binary make temporary files and crash.
const dieVariable = "FEDERATOR_LAB_DIE"

func TestMain(m *testing.M) {
	if reap.Child() {
		return
	}
	if os.Getenv(dieVariable) != "" {
		die()
	}
	os.Exit(m.Run())
}

// die makes files where they are reaped, says where, and dies by SIGKILL.
func die() {
	dir, end, err := reap.Files()
	if err == nil {
		err = os.WriteFile(filepath.Join(os.TempDir(), "file"), []byte("left behind"), 0o600)
	}
	fmt.Println(dir, end != nil, err)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func TestTheFilesOfATestThatIsKilledAreRemoved(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	victim := exec.Command(self)
	victim.Env = append(os.Environ(), dieVariable+"=1", "TMPDIR="+t.TempDir())
	out, err := victim.Output()
	if err == nil {
		t.Fatal("expected it to be killed")
	}
	dir, rest, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if rest != "true <nil>" || !strings.Contains(dir, "fedlab-") {
		t.Fatalf("expected a directory that is reaped, found %q", out)
	}
	err = fleet.Await(20*time.Second, func() error {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			return fmt.Errorf("%s is still there (%v)", dir, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
