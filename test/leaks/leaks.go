// Package leaks fails tests that pass and leave goroutines behind. It waits for
// those that end by themselves, such as a connection's once its peer is gone: on a
// machine that is busy that takes longer than goleak's own half second, and
// memberlist's probes notice a shutdown only when they time out, within two seconds.
package leaks

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is for goroutines that are about to end; without any it costs nothing.
const patience = 10 * time.Second

// Main runs the tests of a package and ends the process. TestMain calls it.
func Main(m *testing.M, ignore ...goleak.Option) { os.Exit(Code(m.Run(), ignore...)) }

// Code returns code, the exit code of tests that have run, or 1 if they passed and
// left goroutines behind, which are then told on standard error.
func Code(code int, ignore ...goleak.Option) int {
	if code != 0 {
		return code // tests that fail clean up less
	}
	if err := find(patience, ignore...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// find returns an error that names the goroutines which are still there in the end.
func find(patience time.Duration, ignore ...goleak.Option) error {
	deadline := time.Now().Add(patience)
	for {
		err := goleak.Find(ignore...) // which looks for half a second
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
