package e2e

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/federator/federator/test/e2e/fleet"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run builds the binary once and tells the tests where it is.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "federator-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary, err := fleet.Binary("../..", dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv(fleet.BinaryVariable, binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The tests wait for timers more than they compute.
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := flag.Set("test.parallel", strconv.Itoa(runtime.GOMAXPROCS(0)+1)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// newFleet returns a fleet of the binary under test, whose test runs beside the
// others.
func newFleet(t *testing.T) *fleet.Fleet {
	t.Helper()
	if testing.Short() {
		t.Skip("starts many processes; run without -short")
	}
	t.Parallel()
	return quickFleet(t)
}

// quickFleet is newFleet for the tests that run with -short, too.
func quickFleet(t *testing.T) *fleet.Fleet {
	t.Helper()
	return fleet.New(t, os.Getenv(fleet.BinaryVariable))
}

// slowFleet is newFleet for the tests that wait for a minute or more, which the
// environment variable FEDERATOR_E2E_SLOW turns on.
func slowFleet(t *testing.T) *fleet.Fleet {
	t.Helper()
	if os.Getenv("FEDERATOR_E2E_SLOW") == "" {
		t.Skip("slow; set FEDERATOR_E2E_SLOW=1 (make e2e SLOW=1)")
	}
	return newFleet(t)
}
