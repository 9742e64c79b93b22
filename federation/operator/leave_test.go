package operator

import (
	"context"
	"strings"
	"testing"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
)

func TestACompromisedReplicaLeavesWithWordOfWhatItKnew(t *testing.T) {
	w := newWorld(t)
	w.do(&state.AdmitReplica{Replica: replicaOf("us-west", "b", "west-1")})
	rotations, held := 0, [][]byte{[]byte("one")}
	w.server.Config.Revoke = func(context.Context, catalog.Replica, string, string) error { return nil }
	w.server.Config.RotateKeyring = func(context.Context, []string) error { rotations++; return nil }
	w.server.Config.Keyring = func(context.Context) (uint64, [][]byte, []string) { return 1, held, nil }
	leave := func(name string) string {
		r, err := w.server.Leave(w.as(), &pb.LeaveRequest{Name: name, Force: true, Compromised: true})
		w.must(err)
		return strings.Join(r.GetWarnings(), "\n")
	}
	if said := leave("b"); rotations != 1 || !strings.Contains(said, "a rotation has begun") || strings.Contains(said, "certificate authority") {
		t.Errorf("a standby knew the gossip key only: %d rotations, %s", rotations, said)
	}
	held = append(held, []byte("two"))
	if said := leave("a"); rotations != 1 || !strings.Contains(said, "rotate again") || !strings.Contains(said, "certificate authority of region us-west") || !strings.Contains(said, "root key") {
		t.Errorf("a voter of the authority region knew everything: %d rotations, %s", rotations, said)
	}
}
