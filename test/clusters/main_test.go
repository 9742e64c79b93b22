//go:build linux

package clusters

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/federator/federator/test/controlplane"
)

// kubeconfigVariable names a kubeconfig of clusters to run on.
const kubeconfigVariable = "FEDERATOR_CLUSTERS_KUBECONFIG"

// formTimeout bounds how long the federation may take to form, with its image.
const formTimeout = 8 * time.Minute

// shared is the federation of all tests; nil if none is meant to run. TestMain sets it
// before the first of them.
var shared *federation

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	if !controlplane.Wanted() && os.Getenv(kubeconfigVariable) == "" {
		return m.Run()
	}
	ctx, cancel := context.WithTimeout(context.Background(), formTimeout)
	defer cancel()
	f, err := open(ctx)
	if err == nil {
		defer func() {
			if err := f.close(); err != nil {
				fmt.Fprintln(os.Stderr, "remove the clusters:", err)
				code = 1
			}
		}()
		err = f.form(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if f != nil {
			fmt.Fprintln(os.Stderr, f.logs(25))
		}
		return 1
	}
	shared = f
	return m.Run()
}

// need returns the federation, and shows what its replicas said last if the test
// failed.
func need(t *testing.T) *federation {
	t.Helper()
	if shared == nil {
		t.Skipf("clusters with real nodes take root, minutes and memory; set %s=1, or %s", controlplane.Variable, kubeconfigVariable)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(shared.logs(15))
		}
	})
	return shared
}

// needWorld is need, for tests that make faults.
func needWorld(t *testing.T) *federation {
	t.Helper()
	f := need(t)
	if f.world == nil {
		t.Skip("takes faults and logs of the control plane, which clusters that exist do not have")
	}
	return f
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for something, for at most so long, and logs the wait if it was one.
func eventually(t *testing.T, within time.Duration, what string, try func(context.Context) error) {
	t.Helper()
	began, last := time.Now(), error(nil)
	ok(t, controlplane.Until(t.Context(), within, what, func(ctx context.Context) error {
		err := try(ctx)
		if err != nil {
			last = err
		}
		return err
	}))
	if took := time.Since(began); took > time.Second {
		t.Logf("%s took %s; before: %.300v", what, took.Round(100*time.Millisecond), last)
	}
}
