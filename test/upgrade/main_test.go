package upgrade

import (
	"fmt"
	"os"
	"testing"

	"github.com/federator/federator/test/lab/reap"
)

func TestMain(m *testing.M) {
	if reap.Child() {
		return
	}
	os.Exit(reaped(m))
}

// reaped has the files of a run removed however it ends.
func reaped(m *testing.M) int {
	if os.Getenv("FEDERATOR_LAB") != "" {
		_, end, err := reap.Files()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer end.Close()
	}
	return m.Run()
}
