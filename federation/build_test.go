package federation

import (
	"testing"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/operator"
	"github.com/federator/federator/federation/state"
)

func TestAReplicaTellsTheBuildThatRunsAndNotTheOneThatMadeIt(t *testing.T) {
	t.Parallel()
	if operator.Build() == "" {
		t.Fatal("the toolchain wrote no version into this test")
	}
	r := initialise(t, "west", "west-0", "") // made by the build "test"
	eventually(t, patience, "the record to name the build that runs", func() bool {
		var record *catalog.Replica
		r.node.Read(func(s *state.State) { record = s.Replica("west-0") })
		return record != nil && record.Build == operator.Build()
	})
}
