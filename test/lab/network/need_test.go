package network_test

import (
	"testing"

	"github.com/federator/federator/test/lab/network"
)

// It is the one test of the network that every system builds, so that the lab is
// nowhere green because there was nothing to run.
func TestTheLabCanHaveANetworkHere(t *testing.T) {
	n := network.Need(t, 7, "west", "east")
	if _, err := n.Host("east", "a"); err != nil {
		t.Error(err)
	}
	if n.Seed() != 7 {
		t.Errorf("expected the seed 7, found %d", n.Seed())
	}
}
