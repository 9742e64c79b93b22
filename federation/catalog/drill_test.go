package catalog

import (
	"testing"
	"time"
)

func TestADrillGoesThroughItsPhases(t *testing.T) {
	shape := Shape{Ramp: Duration(2 * time.Minute), Hold: Duration(5 * time.Minute), Return: Duration(time.Minute)}
	for _, tt := range []struct {
		elapsed time.Duration
		phase   DrillPhase
		share   uint32
	}{
		{0, PhaseRamp, 50_000},
		{time.Minute, PhaseRamp, 500_000},
		{2*time.Minute - 1, PhaseRamp, 950_000},
		{2 * time.Minute, PhaseHold, 1_000_000},
		{7*time.Minute - 1, PhaseHold, 1_000_000},
		{7 * time.Minute, PhaseReturn, 1_000_000},
		{7*time.Minute + 30*time.Second, PhaseReturn, 500_000},
		{8*time.Minute - 1, PhaseReturn, 50_000},
		{8 * time.Minute, PhaseOver, 0},
		{time.Hour, PhaseOver, 0},
	} {
		if phase, share := shape.Phase(tt.elapsed), shape.Share(tt.elapsed); phase != tt.phase || share != tt.share {
			t.Errorf("after %v: expected %s with %d, found %s with %d", tt.elapsed, tt.phase, tt.share, phase, share)
		}
	}
	if sudden := (Shape{Hold: Duration(time.Second)}); sudden.Share(0) != 1_000_000 || sudden.Share(time.Second) != 0 {
		t.Errorf("without ramps: expected all and then nothing, found %d and %d", sudden.Share(0), sudden.Share(time.Second))
	}
}

func TestOnlyDrillsOfDifferentServicesDoNotOverlap(t *testing.T) {
	shop, bank := ServiceName{Namespace: "shop", Name: "checkout"}, ServiceName{Namespace: "bank", Name: "ledger"}
	west, east := Scope{Region: "us-west"}, Scope{Region: "us-east"}
	narrow := func(s Scope, service ServiceName) Scope {
		s.Service = service
		return s
	}
	for _, tt := range []struct {
		a, b     Scope
		overlaps bool
	}{
		{west, west, true},
		{west, east, true},
		{west, narrow(east, shop), true},
		{narrow(west, shop), narrow(east, shop), true},
		{narrow(west, shop), narrow(west, bank), false},
	} {
		if found := tt.a.Overlaps(tt.b); found != tt.overlaps {
			t.Errorf("%s and %s: expected %v, found %v", tt.a, tt.b, tt.overlaps, found)
		}
		if found := tt.b.Overlaps(tt.a); found != tt.overlaps {
			t.Errorf("%s and %s: expected %v, found %v", tt.b, tt.a, tt.overlaps, found)
		}
	}
}
