package state

import (
	"errors"
	"testing"
)

func affine(seconds uint32) *PutSets {
	cmd := putSet("west-1", "kube", "checkout", "e1")
	cmd.Upserts[0].AffinitySeconds = seconds
	return cmd
}

func TestASessionAffinityNeedsItsProtocolAndASetWithoutItDoesNot(t *testing.T) {
	for seconds, want := range map[uint32]int{0: MinProtocol, 10800: AffinityProtocol} {
		env, err := NewEnvelope(Meta{ID: "x", Time: epoch0}, affine(seconds))
		if err != nil || env.Version != want {
			t.Errorf("affinity %d: expected protocol %d, found %d, %v", seconds, want, env.Version, err)
		}
	}
}

func TestASessionAffinityIsRefusedWhileAReplicaOfTheRegionDoesNotKnowIt(t *testing.T) {
	r := founded(t)
	r.refuse(affine(60), ErrProtocol)
	r.ok(affine(0))
	all := replica("a", "west-1")
	all.MaxProtocol = AffinityProtocol
	r.ok(&UpdateReplica{all})
	r.ok(affine(60))
	if set := r.s.Set(affine(0).Upserts[0].SetKey); set.AffinitySeconds != 60 || r.s.About().Protocol != AffinityProtocol {
		t.Fatalf("affinity %d, protocol %d", set.AffinitySeconds, r.s.About().Protocol)
	}
	r.refuse(affine(86401), ErrInvalid)
}

func TestACommandThatHidesANewFieldBehindAnOldProtocolIsRefused(t *testing.T) {
	env, err := NewEnvelope(Meta{ID: "x", Time: epoch0}, affine(60))
	if err != nil {
		t.Fatal(err)
	}
	env.Version = MinProtocol
	if _, err := env.Command(); !errors.Is(err, ErrInvalid) {
		t.Fatalf("expected it to be refused, found %v", err)
	}
}
