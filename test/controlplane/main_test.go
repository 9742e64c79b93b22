//go:build linux

package controlplane

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/federator/federator/test/leaks"
)

// abandonVariable makes this test binary the child of a test that kills it.
const abandonVariable = "FEDERATOR_CONTROLPLANE_ABANDON"

func TestMain(m *testing.M) {
	if os.Getenv(abandonVariable) != "" {
		abandon()
	}
	leaks.Main(m,
		// Clients of a world that is gone keep connections until they time out.
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
	)
}

// abandon starts a world with a node, says so, and waits to be killed.
func abandon() {
	w, err := Start(context.Background(), Options{Clusters: []string{"us-west"}, Nodes: true})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(w.record.number, w.dir)
	time.Sleep(time.Hour) // the parent kills it long before
}

// within is a context that bounds one step of a test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
