package federation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/source"
)

var aService = catalog.ServiceName{Namespace: "n", Name: "s00000"}

func turned(endpoint string, h catalog.Health) []catalog.HealthChange {
	return []catalog.HealthChange{{Service: aService, Endpoint: endpoint, Health: h}}
}

// counting counts what a desk spreads.
type counting struct{ flips, resyncs int }

func (c *counting) BroadcastHealth(catalog.HealthDelta)           { c.flips++ }
func (c *counting) BroadcastResync(string, catalog.HealthVersion) { c.resyncs++ }

func TestAnOwnerGoesOnAboveWhatItSaidBeforeItRestarted(t *testing.T) {
	d, c := reviewDesk(t, 1, 1, &reviewLedger{folded: map[string]catalog.HealthVersion{}})
	d.seq = 10
	// Said before the restart, not folded, and heard again from others.
	before := turned("e0", catalog.Healthy)
	before[0].Version = catalog.HealthVersion{Epoch: 1, Term: 256, Seq: 1000}
	c.ApplyHealth(catalog.HealthDelta{Cluster: "c", Changes: before}, time.Now())

	d.emit(turned("e0", catalog.Unhealthy))
	if h := c.Service(aService).Backends[0].Health[0]; h != catalog.Unhealthy {
		t.Errorf("the owner turned the endpoint unhealthy, and it counts as %s", h)
	}
}

func TestAFoldTakesInWhatTheOwnerSaidBeforeItRestarted(t *testing.T) {
	l := &reviewLedger{folded: map[string]catalog.HealthVersion{}}
	d, c := reviewDesk(t, 1, 1, l)
	before := turned("e0", catalog.Unhealthy)
	before[0].Version = catalog.HealthVersion{Epoch: 1, Term: 256, Seq: 1000}
	c.ApplyHealth(catalog.HealthDelta{Cluster: "c", Changes: before}, time.Now())
	d.fold(context.Background())
	if l.upTo != before[0].Version {
		t.Errorf("expected a fold up to %s, found %s, which Raft refuses", before[0].Version, l.upTo)
	}
}

func TestManyFlipsCostOneResyncAndTheLastIsNotLeftOut(t *testing.T) {
	d, _ := reviewDesk(t, 1, 2*maxPending, &reviewLedger{err: errors.New("no leader")})
	h := &counting{}
	d.herald = h
	began := time.Now()
	for i := range 2 * maxPending {
		d.emit(turned(fmt.Sprint("e", i), catalog.Unhealthy))
	}
	most := 1 + int(time.Since(began)/resyncEvery)
	if h.flips != maxPending || h.resyncs == 0 || h.resyncs > most {
		t.Errorf("expected %d flips and from 1 to %d resyncs, found %d and %d", maxPending, most, h.flips, h.resyncs)
	}
	d.voice.resynced = time.Time{} // a while later
	d.emit(turned("e0", catalog.Healthy))
	d.voice.resynced = time.Now().Add(time.Hour) // the next is too soon, on a slow machine too
	d.emit(turned("e0", catalog.Unhealthy))
	said := h.resyncs
	d.voice.resynced = time.Time{}
	d.resync()
	d.resync()
	if h.resyncs != said+1 {
		t.Errorf("expected one more resync for what was held back, found %d", h.resyncs-said)
	}
}

func TestADeskIsConcernedWithItsOwnSetsOnly(t *testing.T) {
	d, c := reviewDesk(t, 2, 1, &reviewLedger{})
	d.retarget(everything())
	flip := catalog.Changes{Services: []catalog.ServiceName{aService}, Conditions: true}
	if !d.concerned(flip).empty() {
		t.Error("a flip of an own endpoint concerns the desk")
	}
	foreign := catalog.ServiceName{Namespace: "n", Name: "foreign"}
	if !d.concerned(catalog.Changes{Services: []catalog.ServiceName{foreign}}).empty() {
		t.Error("a foreign service concerns the desk")
	}
	set := *c.Service(aService).Backends[0].Set
	set.Headless = true
	record := catalog.Record{Set: &set}
	for seq, delta := range []catalog.Delta{
		{Upserts: []catalog.Record{record}},
		{Deletes: []catalog.RecordKey{record.Key()}},
	} {
		delta.Region, delta.Version = "r", catalog.Version{Epoch: 1, Seq: uint64(seq) + 2}
		if err := c.Apply(delta, time.Now()); err != nil {
			t.Fatal(err)
		}
		if d.concerned(flip).empty() {
			t.Errorf("change %d of an own set does not concern the desk", seq)
		}
		d.retarget(everything())
	}
}

func TestALargeChangeIsWrittenInCommandsThatRaftAccepts(t *testing.T) {
	var c source.Changes
	for i := range 12_000 {
		key := catalog.SetKey{Cluster: "c", Service: catalog.ServiceName{Namespace: "n", Name: fmt.Sprint("d", i)}}
		c.Deletes = append(c.Deletes, key)
	}
	for i := range 1200 {
		c.Upserts = append(c.Upserts, catalog.EndpointSet{
			SetKey:    catalog.SetKey{Cluster: "c", Service: catalog.ServiceName{Namespace: "n", Name: fmt.Sprint("u", i)}},
			Endpoints: make([]catalog.Endpoint, 20),
		})
	}
	deletes, upserts := 0, 0
	for _, cmd := range commandsFor("c", "file", 256, c) {
		if n := len(cmd.Deletes) + len(cmd.Upserts); n == 0 || n > maxDeletesAtOnce || len(cmd.Upserts)*20 > maxEndpointsAtOnce {
			t.Errorf("a command deletes %d and writes %d sets", len(cmd.Deletes), len(cmd.Upserts))
		}
		deletes, upserts = deletes+len(cmd.Deletes), upserts+len(cmd.Upserts)
	}
	if deletes != len(c.Deletes) || upserts != len(c.Upserts) {
		t.Errorf("expected %d deletes and %d writes, found %d and %d", len(c.Deletes), len(c.Upserts), deletes, upserts)
	}
}

func TestSetsWithTheLongestPropertiesAreWrittenInCommandsThatRaftAccepts(t *testing.T) {
	long := &catalog.Properties{Annotations: map[string]string{}}
	for _, key := range []string{"a", "b", "c", "d"} { // JSON makes six bytes of each
		long.Annotations[key] = strings.Repeat("<", catalog.MaxPropertyBytes/4-1)
	}
	var c source.Changes
	for i := range 600 {
		c.Upserts = append(c.Upserts, catalog.EndpointSet{
			SetKey: catalog.SetKey{Cluster: "c", Service: catalog.ServiceName{Namespace: "n", Name: fmt.Sprint("u", i)}}, Source: "kube", Properties: long,
		})
	}
	written := 0
	for _, cmd := range commandsFor("c", "kube", 256, c) {
		env, err := state.NewEnvelope(state.Meta{ID: "x", Time: time.Now()}, cmd)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := env.Encode(); err != nil {
			t.Errorf("a command with %d sets: %v", len(cmd.Upserts), err)
		}
		written += len(cmd.Upserts)
	}
	if written != len(c.Upserts) {
		t.Errorf("expected %d sets, found %d", len(c.Upserts), written)
	}
}
