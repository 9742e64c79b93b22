package checker_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/reap"
	"github.com/federator/federator/test/leaks"
)

// labVariable names the environment variable that has the negative controls run.
const labVariable = "FEDERATOR_LAB"

func TestMain(m *testing.M) {
	if reap.Child() {
		return
	}
	os.Exit(run(m))
}

// run builds the true federator once, if the controls are to run.
func run(m *testing.M) int {
	if os.Getenv(labVariable) == "" {
		return leaks.Code(m.Run())
	}
	dir, end, err := reap.Files()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer end.Close()
	binary, err := fleet.Binary(root, dir)
	if err == nil {
		err = os.Setenv(fleet.BinaryVariable, binary)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The controls wait for timers more than they compute.
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)+1)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return leaks.Code(m.Run())
}
