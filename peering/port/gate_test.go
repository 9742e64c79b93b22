package port_test

import (
	"errors"
	"testing"
	"time"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/internal/peertest"
	"github.com/federator/federator/peering/port"
)

func TestAShutGateRefusesAndClosesTheConnectionsOfAnotherRegion(t *testing.T) {
	d := peertest.New(t)
	a, sibling, foreign := d.Replica("us-west", "a", time.Now()), d.Replica("us-west", "b", time.Now()), d.Replica("eu-central", "c", time.Now())
	gate := &port.Gate{}
	p := a.Port(func(o *port.Options) { o.Gate = gate })
	echo(t, p.Listener(port.GRPC))
	dial := func(r *peertest.Party) (*port.Conn, error) {
		c, err := r.Dialer().Dial(t.Context(), port.GRPC, p.Addr().String(), anyReplica)
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			err = roundTrip(c)
		}
		return c, err
	}
	near, err1 := dial(sibling)
	far, err2 := dial(foreign)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	abroad := func(id identity.ID) bool { return id.Region != "us-west" }
	if n := gate.Shut(abroad); n != 1 {
		t.Errorf("expected one connection to be closed, found %d", n)
	}
	if roundTrip(far) == nil {
		t.Error("the connection of another region goes on")
	}
	if err := roundTrip(near); err != nil {
		t.Errorf("the connection of a sibling was cut: %v", err)
	}
	if _, err := dial(foreign); err == nil {
		t.Error("another region connected through a shut gate")
	}
	if _, err := dial(sibling); err != nil {
		t.Errorf("a sibling was refused: %v", err)
	}
	gate.Shut(nil)
	if _, err := dial(foreign); err != nil {
		t.Errorf("the gate is open again, and still refuses: %v", err)
	}
	if n := gate.Shut(func(identity.ID) bool { return false }); n != 0 {
		t.Errorf("closed %d that it does not refuse", n)
	}
}

func TestAShutGateLetsNobodyOut(t *testing.T) {
	d := peertest.New(t)
	p := d.Replica("eu-central", "c", time.Now()).Port(nil)
	echo(t, p.Listener(port.GRPC))
	dialer := d.Replica("us-west", "a", time.Now()).Dialer()
	dialer.Gate = &port.Gate{}
	dialer.Gate.Shut(func(id identity.ID) bool { return id.Region != "us-west" })
	if c, err := dialer.Dial(t.Context(), port.GRPC, p.Addr().String(), anyReplica); !errors.Is(err, port.ErrShut) {
		if err == nil {
			_ = c.Close()
		}
		t.Fatalf("expected %v, found %v", port.ErrShut, err)
	}
	dialer.Gate.Shut(nil)
	c, err := dialer.Dial(t.Context(), port.GRPC, p.Addr().String(), anyReplica)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := roundTrip(c); err != nil {
		t.Fatal(err)
	}
}
