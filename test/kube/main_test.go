//go:build linux

package kube_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sync/semaphore"

	"github.com/federator/federator/test/controlplane"
	"github.com/federator/federator/test/e2e/fleet"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run builds the binary once, for all tests.
func run(m *testing.M) int {
	if !controlplane.Wanted() {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "federator-kube-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary, err := fleet.Binary("../..", dir)
	if err == nil {
		err = os.Setenv(fleet.BinaryVariable, binary)
	}
	// The tests wait more than they compute: what bounds them is need.
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); err == nil && parallel.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		err = flag.Set("test.parallel", "16")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// maxClusters is how many clusters there are at a time: each takes 450 MB, six seconds
// of CPU to start and a twentieth of a CPU from then on.
const maxClusters = 7

// room is what is left of them.
var room = semaphore.NewWeighted(maxClusters)

// need returns a world of its own for a test, which runs beside others.
func need(t *testing.T, o controlplane.Options) *controlplane.World {
	t.Helper()
	t.Parallel()
	n := int64(len(o.Clusters))
	must(t, room.Acquire(t.Context(), n))
	t.Cleanup(func() { room.Release(n) }) // when the world is gone
	return controlplane.Need(t, o)
}

// program is the path of the federator under test.
func program() string { return os.Getenv(fleet.BinaryVariable) }
