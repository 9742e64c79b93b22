package federation

import (
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/drill"
)

func TestAScheduleIsDue(t *testing.T) {
	at := func(s string) time.Time { // 2 March 2026 is a Monday
		v, err := time.Parse("2006-01-02 15:04:05", s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	daily := catalog.Schedule{At: []string{"02:30", "23:59"}}
	mondays := catalog.Schedule{At: []string{"02:30"}, Days: []string{"mon"}}
	lateMondays := catalog.Schedule{At: []string{"23:59"}, Days: []string{"mon"}}
	nights := catalog.Schedule{At: []string{"02:30", "12:00"}, Blocked: []catalog.Window{{From: "22:00", To: "06:00"}}}
	edge := catalog.Schedule{At: []string{"21:59"}, Blocked: []catalog.Window{{From: "22:00", To: "06:00"}}}
	suspended := daily
	suspended.Suspend = true
	for _, tt := range []struct {
		name      string
		s         catalog.Schedule
		last, now string
		want      string // "" for not due
	}{
		{"before its time", daily, "2026-03-01 02:30:00", "2026-03-02 02:29:59", ""},
		{"at its time", daily, "2026-03-01 02:30:00", "2026-03-02 02:30:00", "2026-03-02 02:30:00"},
		{"a little late", daily, "2026-03-01 02:30:00", "2026-03-02 02:31:59", "2026-03-02 02:30:00"},
		{"too late", daily, "2026-03-01 02:30:00", "2026-03-02 02:32:00", ""},
		{"once only", daily, "2026-03-02 02:30:00", "2026-03-02 02:30:05", ""},
		{"its first time", daily, "0001-01-01 00:00:00", "2026-03-02 02:30:00", "2026-03-02 02:30:00"},
		{"just over midnight", daily, "2026-03-01 23:59:00", "2026-03-03 00:00:30", "2026-03-02 23:59:00"},
		{"on its day", mondays, "2026-02-23 02:30:00", "2026-03-02 02:30:00", "2026-03-02 02:30:00"},
		{"on another day", mondays, "2026-02-23 02:30:00", "2026-03-03 02:30:00", ""},
		{"of its day, over midnight", lateMondays, "2026-02-23 23:59:00", "2026-03-03 00:00:10", "2026-03-02 23:59:00"},
		{"in a blocked window", nights, "2026-03-01 02:30:00", "2026-03-02 02:30:00", ""},
		{"outside of it", nights, "2026-03-01 02:30:00", "2026-03-02 12:00:00", "2026-03-02 12:00:00"},
		{"a window began meanwhile", edge, "2026-03-01 02:30:00", "2026-03-02 22:00:30", ""},
		{"suspended", suspended, "2026-03-01 02:30:00", "2026-03-02 02:30:00", ""},
	} {
		got, ok := due(tt.s, at(tt.last), at(tt.now))
		if ok != (tt.want != "") || ok && !got.Equal(at(tt.want)) {
			t.Errorf("%s: expected %q, found %v %s", tt.name, tt.want, ok, got)
		}
	}
	zone := time.FixedZone("far", 11*3600)
	if got, ok := due(daily, time.Time{}, at("2026-03-02 02:30:00").In(zone)); !ok || !got.Equal(at("2026-03-02 02:30:00")) {
		t.Errorf("times of day are UTC: found %v %s", ok, got)
	}
}

func TestADueScheduleBeginsADrillOrSaysWhyNot(t *testing.T) {
	s := catalog.Schedule{
		Region: "us-west", At: []string{"12:00"}, Kind: catalog.DrillEvacuate, Scope: catalog.Scope{Region: "eu-central"},
		Shape: catalog.Shape{Hold: catalog.Duration(time.Minute)}, Objective: catalog.Duration(5 * time.Second),
	}
	all := map[string]catalog.Schedule{"noon": s}
	for name, tt := range map[string]struct {
		change func(*drillWorld)
		starts int
		failed string
	}{
		"it begins":            {nil, 1, ""},
		"it is unsafe":         {func(w *drillWorld) { w.judge = finding(drill.UnderMinRegions) }, 1, "it: is so"},
		"another is under way": {func(w *drillWorld) { w.judge = finding(drill.OtherDrill) }, 1, "it: is so"},
		"an evacuation is on":  {func(w *drillWorld) { w.evacuations = []string{"asia-east"} }, 1, "region asia-east is evacuated by an operator"},
		"we are cut off":       {func(w *drillWorld) { w.isolated = true }, 1, "region us-west is cut off from the other regions"},
		"it ran already": {func(w *drillWorld) {
			v := standing(catalog.DrillEnded)
			v.ID, v.Schedule = "noon-20260302T1200", "noon"
			w.drills = append(w.drills, v)
		}, 0, ""},
		"it is another region's": {func(w *drillWorld) { w.region = "asia-east" }, 0, ""},
		"a minute before":        {func(w *drillWorld) { w.now = w.now.Add(-time.Minute) }, 0, ""},
	} {
		w := deciding("us-west")
		if tt.change != nil {
			tt.change(w)
		}
		starts := w.scheduled(all)
		if len(starts) != tt.starts {
			t.Errorf("%s: expected %d, found %d", name, tt.starts, len(starts))
			continue
		}
		for _, c := range starts {
			if c.Drill.ID != "noon-20260302T1200" || c.Drill.Schedule != "noon" || c.Failed != tt.failed || catalog.ValidateDrill(c.Drill) != nil {
				t.Errorf("%s: found %q and %+v", name, c.Failed, c.Drill)
			}
		}
	}
	broken := s
	broken.Shape = catalog.Shape{}
	if got := deciding("us-west").scheduled(map[string]catalog.Schedule{"noon": broken}); len(got) != 0 {
		t.Error("a schedule that is not valid began a drill")
	}
}
