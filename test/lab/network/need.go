package network

import (
	"errors"
	"os"
	"testing"
)

// Variable names the environment variable that says that the lab is meant to
// run: what cannot run then fails, and what takes long runs, too.
const Variable = "FEDERATOR_LAB"

// Wanted reports whether the lab is meant to run.
func Wanted() bool { return os.Getenv(Variable) == "1" }

// Need returns a network that ends with the test. Where there can be none the
// test fails if the lab is meant to run, and else is skipped.
func Need(t testing.TB, seed uint64, regions ...string) *Network {
	t.Helper()
	n, err := New(seed, regions...)
	if errors.Is(err, ErrUnavailable) && !Wanted() {
		t.Skipf("NOT TESTED, and %s=1 makes this a failure: %v", Variable, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close the network of the lab: %v", err)
		}
	})
	return n
}

// NeedLong is Need for tests that take long; those run only where the lab is
// meant to run.
func NeedLong(t testing.TB, seed uint64, regions ...string) *Network {
	t.Helper()
	if !Wanted() {
		t.Skipf("takes long; set %s=1", Variable)
	}
	return Need(t, seed, regions...)
}
