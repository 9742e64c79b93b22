package operator

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

func TestPoliciesOfClustersDoNotMakeTheListLongerThanAMessage(t *testing.T) {
	w := newWorld(t)
	const many = 2000
	records := []catalog.Record{{Region: &catalog.Region{Name: "us-west", Epoch: 1, Clusters: []string{"west-1"}}}}
	for i := range many {
		regions := 45
		if i == 0 {
			regions = 200
		}
		p := catalog.ClusterPolicy{Service: fmt.Sprintf("s%d", i), CreatedAt: noon}
		for n := range regions {
			p.Policy.RegionOrder = append(p.Policy.RegionOrder, strings.Repeat("r", 50)+fmt.Sprint(n))
		}
		spec, err := json.Marshal(p)
		w.must(err)
		origin := catalog.PolicyOrigin{Cluster: "west-1", Namespace: "shop", Name: fmt.Sprintf("p%04d", i)}
		records = append(records, catalog.Record{Object: &catalog.Object{ObjectKey: origin.Key(), Version: catalog.ObjectVersion{Generation: 1, HLC: 1, Region: "us-west"}, Spec: spec}})
	}
	w.server.Catalog = catalog.New("us-west", "us-west")
	w.must(w.server.Catalog.Reset(catalog.Snapshot{Region: "us-west", Version: catalog.Version{Epoch: 1, Seq: 1}, Records: records}, time.Now()))
	list, err := w.server.ListPolicies(w.as(), &pb.ListPoliciesRequest{})
	w.must(err)
	shown := list.GetClusterPolicies()
	if n := len(shown) + int(list.GetClusterPoliciesLeftOut()); n != many || list.GetClusterPoliciesLeftOut() == 0 {
		t.Fatalf("expected what does not fit of %d to be counted, found %d shown and %d left out", many, len(shown), list.GetClusterPoliciesLeftOut())
	}
	if size := proto.Size(list); size > maxListed+1<<20 {
		t.Errorf("expected at most some %d bytes, found %d", maxListed, size)
	}
	if len(shown[0].GetSpec()) != 0 || len(shown[1].GetSpec()) == 0 || shown[0].GetStanding() != string(catalog.StandsInForce) {
		t.Errorf("expected the long one without its text, found %d and %d bytes", len(shown[0].GetSpec()), len(shown[1].GetSpec()))
	}
}
