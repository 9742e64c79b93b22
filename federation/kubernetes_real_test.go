//go:build linux

package federation

import (
	"fmt"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/federation/state"
	kubeimports "github.com/federator/federator/kube/imports"
)

func TestTheWriterOfAClusterLeavesThatToAnotherOnceItIsRemovedFromItsRegion(t *testing.T) {
	c := cluster(t, 3, "us-west")
	removed := c.writer("us-west")
	var other *agent
	eventually(t, patience, "another replica than the writer leads the region", func() bool {
		if removed.node.IsLeader() {
			_ = removed.node.TransferLeadership() // there may be nobody to take it yet
		}
		for _, a := range c.agents["us-west"] {
			if a != removed && a.node.IsLeader() {
				other = a
			}
		}
		return other != nil
	})
	if _, err := other.proposer.Propose(deadline(t, patience), other.systemMeta(), &state.RemoveReplica{Name: removed.card.Replica.Name}); err != nil {
		t.Fatal(err)
	}
	found := ""
	defer func() {
		if t.Failed() {
			t.Log(found)
		}
	}()
	eventually(t, time.Minute, "another replica writes and holds the Lease, and the removed one knows", func() bool {
		lease, err := c.world.Cluster("us-west").Clients.Core.CoordinationV1().Leases(defaultNamespace).Get(t.Context(), kubeimports.LeaseName, metav1.GetOptions{})
		if err != nil {
			found = err.Error()
			return false
		}
		writer, status := c.writer("us-west"), removed.kube.writer.Status()
		found = fmt.Sprintf("the Lease is held by %q, the removed replica says %+v", holderOf(lease), status)
		return writer != nil && writer != removed && holderOf(lease) == writer.card.Replica.Name && status.Holder == holderOf(lease) && !status.Writer
	})
}

func holderOf(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}
