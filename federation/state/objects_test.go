package state

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"pgregory.net/rapid"
)

func object(name, region string, generation uint64, at time.Time) catalog.Object {
	return catalog.Object{
		ObjectKey: policy(name), Spec: spec(region), Actor: "op",
		Version: catalog.ObjectVersion{Generation: generation, HLC: at.UnixNano(), Region: region},
	}
}

func tombstone(o catalog.Object, acks ...string) catalog.Object {
	o.Deleted, o.Spec, o.Acks = true, nil, acks
	return o
}

var three = []string{"asia-east", "eu-central", "us-west"}

func (r *rig) merge(regions []string, objects ...catalog.Object) MergeReport {
	r.t.Helper()
	result, _ := r.ok(&MergeObjects{Objects: objects, Regions: regions})
	report, err := Value[MergeReport](result)
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	return report
}

func TestTheLastWriterWinsAndTheLoserStaysInHistory(t *testing.T) {
	r := founded(t)
	r.ok(&PutObject{ObjectKey: policy("default"), Spec: spec("mine")})
	theirs := object("default", "zz-later", 1, epoch0) // same generation and clock, later name
	r.merge(three, theirs)
	if got := r.s.Object(policy("default")); got.Version != theirs.Version {
		t.Fatalf("%+v", got)
	}
	lost := r.s.History(policy("default"))
	if len(lost) != 1 || !lost[0].Conflict || lost[0].Object.Version.Region != "us-west" {
		t.Fatalf("%+v", lost)
	}
	loser := object("default", "aa-earlier", 1, epoch0)
	r.merge(three, loser)
	r.merge(three, loser)
	if got := r.s.Conflicts()[policy("default")]; len(got) != 2 {
		t.Fatalf("a concurrent write that lost on arrival is kept once; found %d", len(got))
	}
	result, _ := r.ok(&PutObject{ObjectKey: policy("default"), Spec: spec("next")})
	if v, _ := Value[catalog.ObjectVersion](result); v.Generation != 2 || v.Region != "us-west" {
		t.Fatalf("%+v", v)
	}
}

func TestAClockAheadIsNeverAdopted(t *testing.T) {
	r := founded(t)
	late := object("default", "eu-central", 1, epoch0.Add(MaxClockSkew+time.Second))
	onTime := object("other", "eu-central", 1, epoch0.Add(MaxClockSkew))
	broken := object("third", "eu-central", maxGeneration+1, epoch0)
	report := r.merge(three, late, onTime, broken)
	if len(report.Refused) != 2 || time.Duration(report.Refused[0].Skew) != MaxClockSkew+time.Second || len(report.Adopted) != 1 {
		t.Fatalf("%+v", report)
	}
	if adopt, refused := r.s.Adoptable([]catalog.Object{late, onTime, broken}, three, r.now); len(adopt) != 0 || len(refused) != 2 {
		t.Fatalf("the leader would propose again: %v %v", adopt, refused)
	}
	r.now = epoch0.Add(-time.Minute) // our own clock went back past the bound
	r.refuse(&PutObject{ObjectKey: policy("other"), Spec: spec("x")}, ErrClock)
}

func TestPutObjectComparesWhatTheWriterSaw(t *testing.T) {
	r := founded(t)
	r.ok(&PutObject{ObjectKey: policy("default"), Spec: spec("1"), Seen: &catalog.ObjectVersion{}})
	r.refuse(&PutObject{ObjectKey: policy("default"), Spec: spec("2"), Seen: &catalog.ObjectVersion{}}, ErrConflict)
	v := r.s.Object(policy("default")).Version
	r.ok(&PutObject{ObjectKey: policy("default"), Deleted: true, Seen: &v})
	r.refuse(&PutObject{ObjectKey: policy("default"), Deleted: true}, ErrNotFound)
}

func TestATombstoneGoesOnceAllRegionsHaveIt(t *testing.T) {
	r := founded(t)
	r.ok(&PutObject{ObjectKey: policy("default"), Spec: spec("1")})
	live := *r.s.Object(policy("default"))
	r.ok(&PutObject{ObjectKey: policy("default"), Deleted: true})
	dead := *r.s.Object(policy("default"))
	partly := dead
	partly.Acks = []string{"eu-central"}
	r.merge(three, partly)
	if got := r.s.Object(policy("default")); !slices.Equal(got.Acks, []string{"eu-central", "us-west"}) {
		t.Fatalf("%v", got.Acks)
	}
	r.now = r.now.Add(time.Hour)
	if r.s.SweepDue(three, r.now) {
		t.Fatal("asia-east has not acknowledged")
	}
	all := dead
	all.Acks = three
	r.merge(three, all)
	r.merge(three) // at once: still published, so that the others learn
	if r.s.Object(policy("default")) == nil {
		t.Fatal("dropped before the others could know")
	}
	r.now = r.now.Add(tombstoneGrace)
	if !r.s.SweepDue(three, r.now) {
		t.Fatal("no sweep is due")
	}
	if report := r.merge(three); len(report.Dropped) != 1 || r.s.Object(policy("default")) != nil {
		t.Fatalf("%+v", report)
	}
	r.merge(three, all)
	if r.s.Object(policy("default")) != nil {
		t.Fatal("a fully acknowledged tombstone came back")
	}
	r.merge(three, live)
	if r.s.Object(policy("default")) != nil {
		t.Fatal("a deleted object came back to life")
	}
	r.merge(three, partly) // eu-central does not know yet: it is told
	if got := r.s.Object(policy("default")); got == nil || !slices.Equal(got.Acks, three) {
		t.Fatalf("%+v", got)
	}
}

func TestReplaceRefillsASuspectState(t *testing.T) {
	r := founded(t)
	r.ok(&PutObject{ObjectKey: policy("old"), Spec: spec("1")})
	r.s.about.ObjectsSuspect = true
	r.ok(&MergeObjects{Objects: []catalog.Object{object("new", "eu-central", 1, epoch0)}, Replace: true})
	if r.s.Object(policy("old")) != nil || r.s.Object(policy("new")) == nil || r.s.About().ObjectsSuspect {
		t.Fatal("not refilled")
	}
}

// TestObjectsConvergeInEveryRegion lets three regions write, delete and exchange
// what they hold in any order, and then until nothing changes.
func TestObjectsConvergeInEveryRegion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := epoch0
		regions := map[string]*rig{}
		for _, name := range three {
			r := &rig{t: t, s: NewState(), now: now}
			f := foundUSWest()
			f.Region, f.Replica.Region = name, name
			r.ok(f)
			regions[name] = r
		}
		exchange := func(from, to string) {
			var held []catalog.Object
			for _, o := range regions[from].s.Objects() {
				held = append(held, *o)
			}
			to2 := regions[to]
			adopt, _ := to2.s.Adoptable(held, three, now)
			if len(adopt) > 0 || to2.s.SweepDue(three, now) {
				to2.now = now
				to2.merge(three, adopt...)
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "s")) * time.Second)
			a := rapid.SampledFrom(three).Draw(t, "a")
			if rapid.Bool().Draw(t, "write") {
				r := regions[a]
				r.now = now
				put := &PutObject{ObjectKey: policy(fmt.Sprint(rapid.IntRange(0, 1).Draw(t, "key"))), Deleted: rapid.Bool().Draw(t, "delete")}
				if !put.Deleted {
					put.Spec = spec(fmt.Sprint(r.n))
				}
				r.do(put) // deleting what is not there is refused
				continue
			}
			exchange(a, rapid.SampledFrom(three).Draw(t, "b"))
		}
		for range 12 {
			now = now.Add(20 * time.Second)
			for _, a := range three {
				for _, b := range three {
					exchange(a, b)
				}
			}
		}
		want := encodeValue(regions[three[0]].s.Objects())
		for _, name := range three {
			objects := regions[name].s.Objects()
			if string(encodeValue(objects)) != string(want) {
				t.Fatalf("%s holds %s, %s holds %s", name, encodeValue(objects), three[0], want)
			}
			for _, o := range objects {
				if o.Deleted {
					t.Fatalf("%s keeps the tombstone %s with %v", name, o.ObjectKey, o.Acks)
				}
			}
		}
	})
}
