package checker_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/federator/federator/test/e2e/fleet"
)

// labVariable names the environment variable that has the negative controls run.
const labVariable = "FEDERATOR_LAB"

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run builds the true federator once, if the controls are to run.
func run(m *testing.M) int {
	if os.Getenv(labVariable) == "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "federator-lab-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary, err := fleet.Binary(root, dir)
	if err == nil {
		err = os.Setenv(fleet.BinaryVariable, binary)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
