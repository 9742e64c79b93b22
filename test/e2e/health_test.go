package e2e

import (
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

const checkout = "shop/checkout"

func TestAFailedEndpointLeavesTheAnswersOfEveryRegionAndComesBack(t *testing.T) {
	f := newFleet(t)
	west := f.Endpoints(3)
	f.Serve("west", fleet.ServicesFile(checkout, west...))
	f.Grow(1, "west", "east", "south")
	all := f.Replicas("")
	f.AnswersAll(20*time.Second, all, checkout, "west", west...)

	west[1].Fail()
	f.AnswersAll(5*time.Second, all, checkout, "west", west[0], west[2])
	west[1].Recover()
	f.AnswersAll(5*time.Second, all, checkout, "west", west...)
}
