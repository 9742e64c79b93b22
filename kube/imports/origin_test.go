package imports

import (
	"maps"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

func TestAWriterThatKnowsLessLeavesObjectsAlone(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a hh"), backend("west-2@us-west/a hh"), backend("east-1@us-east/a hh"))
	s.in.Knowledge = knows(7)
	s.settle(t)
	// Another writer, which has not heard of the newest of us-west, sees less there.
	s.in.Knowledge = knows(7)
	s.in.Knowledge.Regions["us-west"] = catalog.Version{Epoch: 1, Seq: 6}
	s.exported(t, backend("west-1@us-west/a h"), backend("east-1@us-east/a hh"))
	if p := Make(s.in); len(p.Writes) != 0 || p.Behind != "west-1" {
		t.Errorf("expected nothing written and west-1 named, found %s and %q", words(p.Writes), p.Behind)
	}
	s.exported(t)
	if p := Make(s.in); len(p.Writes) != 0 || p.Behind != "west-1" {
		t.Errorf("no exports known: expected nothing deleted and west-1 named, found %s and %q", words(p.Writes), p.Behind)
	}
	s.in.Knowledge = knows(8)
	s.settle(t)
	if s.in.Facts.Import != nil {
		t.Error("once it knows as much: expected the import deleted")
	}
}

func TestASlowerWriterDoesNotBringBackAClusterThatLeft(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a hh"), backend("west-2@us-west/a hh"))
	s.settle(t)
	s.in.Knowledge = knows(2)
	s.exported(t, backend("west-1@us-west/a hh"))
	s.settle(t)
	if got := s.perCluster(); got["west-2"] != 0 {
		t.Fatalf("expected the slices of west-2 gone, found %v", got)
	}
	s.in.Knowledge = knows(1)
	s.exported(t, backend("west-1@us-west/a hh"), backend("west-2@us-west/a hh"))
	if p := Make(s.in); len(p.Writes) != 0 || p.Behind == "" {
		t.Errorf("expected a writer that has not heard of it to wait, found %s", words(p.Writes))
	}
}

func TestAWriterThatKnowsLessLeavesExportsAlone(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a hh"), backend("east-1@us-east/a hh"))
	s.in.Verdict = &Verdict{Valid: true}
	s.in.Facts.Export = &mcsv1beta1.ServiceExport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}}
	s.in.Knowledge = knows(5)
	s.settle(t)
	s.in.Knowledge = knows(4)
	s.exported(t, backend("east-1@us-east/a hh")) // it has not heard of the own export yet
	if p := Make(s.in); len(p.Writes) != 0 || p.Behind == "" {
		t.Errorf("expected the export to stay Exported, found %s", words(p.Writes))
	}
}

func TestNewerHealthIsNotTakenBackEither(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a hu"))
	s.in.Knowledge.Health["west-1"] = catalog.HealthVersion{Epoch: 1, Term: 2, Seq: 9}
	s.settle(t)
	s.in.Knowledge = knows(1)
	s.in.Knowledge.Health["west-1"] = catalog.HealthVersion{Epoch: 1, Term: 2, Seq: 8}
	s.exported(t, backend("west-1@us-west/a hh"))
	if p := Make(s.in); len(p.Writes) != 0 || p.Behind != "west-1" {
		t.Errorf("expected nothing written, found %s", words(p.Writes))
	}
}

func TestARemovedRegionAndANewFederationHoldNothingUp(t *testing.T) {
	s := newStore(t, backend("west-1@us-west/a hh"), backend("east-1@us-east/a hh"))
	s.in.Knowledge = knows(9)
	s.settle(t)
	s.in.Knowledge = knows(9)
	delete(s.in.Knowledge.Regions, "us-east")
	s.exported(t, backend("west-1@us-west/a h"))
	if p := Make(s.in); p.Behind != "east-1" {
		t.Errorf("a region that is not known yet: expected to wait for it, found %s", words(p.Writes))
	}
	s.in.Knowledge.Removed = func(region string) bool { return region == "us-east" }
	if p := s.settle(t); p.Behind != "" || s.perCluster()["east-1"] != 0 {
		t.Errorf("a removed region: expected its endpoints gone, found %v, behind %q", s.perCluster(), p.Behind)
	}
	s.in.Knowledge = knows(1)
	s.in.Knowledge.Federation = "another"
	s.exported(t, backend("west-1@us-west/a hhh"))
	if s.settle(t); s.perCluster()["west-1"] != 3 {
		t.Errorf("another federation: expected its endpoints, found %v", s.perCluster())
	}
}

func TestAnOriginIsReadAsItIsWritten(t *testing.T) {
	o := Origin{Federation: "acme", Points: map[string]Point{
		"west-1": {Region: "us-west", Catalog: catalog.Version{Epoch: 5, Seq: 100}, Health: catalog.HealthVersion{Epoch: 5, Term: 2, Seq: 33}},
		"a.b":    {Region: "us-east", Gone: true},
	}}
	want := "acme a.b=us-east@0.0/0.0.0! west-1=us-west@5.100/5.2.33"
	if got := o.String(); got != want {
		t.Errorf("expected %q, found %q", want, got)
	}
	back, err := ParseOrigin(want)
	if err != nil || back.Federation != "acme" || !maps.Equal(back.Points, o.Points) {
		t.Errorf("expected %+v, found %+v, %v", o, back, err)
	}
	for _, bad := range []string{"", "acme west-1", "acme west-1=us-west@5/1", "acme west-1=us-west@x.1/1.1.1"} {
		if _, err := ParseOrigin(bad); err == nil {
			t.Errorf("%q: expected an error", bad)
		}
	}
}

func FuzzParseOrigin(f *testing.F) {
	f.Add("acme a.b=us-east@0.0/0.0.0! west-1=us-west@5.100/5.2.33")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseOrigin(s)
		if err != nil {
			return
		}
		if again, err := ParseOrigin(o.String()); err != nil || again.String() != o.String() {
			t.Errorf("%q became %q, and that %q, %v", s, o, again, err)
		}
	})
}
