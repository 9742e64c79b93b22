package operator

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/drill"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
)

func TestAnOperatorsDrillEndsThoseOfUsersThatAreInItsWayAndNoOthers(t *testing.T) {
	w := drillable(t)
	users := evacuating("us-west")
	users.ID, users.Region, users.Actor = "kube-1", "us-west", "kubernetes:west-1/shop/practice"
	users.Scope.Service = catalog.ServiceName{Namespace: "shop", Name: "checkout"}
	w.do(&state.StartDrill{Drill: users})
	d, err := w.start(evacuating("us-west"))
	w.must(err)
	old, err := w.server.GetDrill(w.as(), &pb.GetDrillRequest{Id: "kube-1"})
	w.must(err)
	if old.GetOutcome() != "interrupted" || old.GetDetail() != "drill "+d.GetId()+" of an operator takes its place" || d.GetState() != "pending" {
		t.Errorf("expected the users' drill to give way, found %v and %v", old, d)
	}
	users.ID = "kube-2"
	if unsafe := drill.Unsafe(drill.Check(w.server.drillWorld(), users)); len(unsafe) != 1 || !strings.Contains(unsafe[0], d.GetId()) {
		t.Errorf("expected an operator's drill to be in the users' way, found %q", unsafe)
	}
	_, err = w.start(evacuating("us-west"))
	wants(t, err, codes.FailedPrecondition, "UNSAFE")
}
