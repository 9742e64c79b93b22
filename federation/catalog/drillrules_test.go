package catalog

import (
	"testing"
	"time"
)

func TestDrillsOutOfBoundsAreRefused(t *testing.T) {
	second := Duration(time.Second)
	for name, change := range map[string]func(*Drill){
		"":                       func(*Drill) {},
		"no id":                  func(d *Drill) { d.ID = "" },
		"id with a slash":        func(d *Drill) { d.ID = "a/b" },
		"no region":              func(d *Drill) { d.Region = "" },
		"no scope":               func(d *Drill) { d.Scope = Scope{} },
		"zone and cluster":       func(d *Drill) { d.Scope.Zone, d.Scope.Cluster = "a", "c" },
		"half a service":         func(d *Drill) { d.Scope.Service.Name = "x" },
		"negative ramp":          func(d *Drill) { d.Shape.Ramp = -1 },
		"too short":              func(d *Drill) { d.Shape = Shape{Hold: second - 1} },
		"too long":               func(d *Drill) { d.Shape = Shape{Hold: Duration(MaxDrill), Ramp: 1} },
		"overflowing":            func(d *Drill) { d.Shape = Shape{Hold: 1 << 62, Ramp: 1 << 62} },
		"unknown kind":           func(d *Drill) { d.Kind = "smash" },
		"isolate with a ramp":    func(d *Drill) { d.Kind, d.Shape = DrillIsolate, Shape{Ramp: second, Hold: 9 * second} },
		"isolate too short":      func(d *Drill) { d.Kind, d.Shape = DrillIsolate, Shape{Hold: 4 * second} },
		"isolate too long":       func(d *Drill) { d.Kind, d.Shape = DrillIsolate, Shape{Hold: Duration(11 * time.Minute)} },
		"isolate a zone":         func(d *Drill) { d.Kind, d.Scope.Zone, d.Shape = DrillIsolate, "a", Shape{Hold: 9 * second} },
		"too many alarms":        func(d *Drill) { d.Alarms = make([]Alarm, MaxAlarms+1) },
		"negative objective":     func(d *Drill) { d.Objective = -1 },
		"schedule of a bad name": func(d *Drill) { d.Schedule = "A B" },
	} {
		d := minute()
		change(&d)
		if err := ValidateDrill(d); (err == nil) != (name == "") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAlarmsAreAnURLOrAQueryWithABound(t *testing.T) {
	one, two := 1.0, 2.0
	for name, tt := range map[string]struct {
		a  Alarm
		ok bool
	}{
		"url":                  {Alarm{Name: "a", URL: "http://x/healthz"}, true},
		"query with a minimum": {Alarm{Name: "a", Prometheus: "https://p:9090", Query: "up", Min: &one}, true},
		"query with both":      {Alarm{Name: "a", Prometheus: "https://p", Query: "up", Min: &one, Max: &two}, true},
		"no name":              {Alarm{URL: "http://x"}, false},
		"neither":              {Alarm{Name: "a"}, false},
		"both":                 {Alarm{Name: "a", URL: "http://x", Prometheus: "http://p", Query: "up", Min: &one}, false},
		"no bound":             {Alarm{Name: "a", Prometheus: "http://p", Query: "up"}, false},
		"turned bounds":        {Alarm{Name: "a", Prometheus: "http://p", Query: "up", Min: &two, Max: &one}, false},
		"no server":            {Alarm{Name: "a", Query: "up", Min: &one}, false},
		"url with a bound":     {Alarm{Name: "a", URL: "http://x", Max: &one}, false},
		"another scheme":       {Alarm{Name: "a", URL: "file:///etc/passwd"}, false},
		"with credentials":     {Alarm{Name: "a", URL: "http://me:secret@x/"}, false},
	} {
		if err := ValidateAlarm(tt.a); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchedulesOutOfBoundsAreRefused(t *testing.T) {
	good := func() Schedule {
		d := minute()
		return Schedule{Region: "eu", At: []string{"02:30"}, Days: []string{"mon"}, Kind: d.Kind, Scope: d.Scope, Shape: d.Shape,
			Blocked: []Window{{From: "22:00", To: "06:00"}, {From: "2026-12-20T00:00:00Z", To: "2027-01-02T00:00:00Z"}}}
	}
	for name, change := range map[string]func(*Schedule){
		"":                     func(*Schedule) {},
		"no region":            func(s *Schedule) { s.Region = "" },
		"never":                func(s *Schedule) { s.At = nil },
		"no time":              func(s *Schedule) { s.At = []string{"2:30"} },
		"no day":               func(s *Schedule) { s.Days = []string{"someday"} },
		"mixed window":         func(s *Schedule) { s.Blocked[0].To = "2027-01-02T00:00:00Z" },
		"window that is over":  func(s *Schedule) { s.Blocked[1].To = "2025-01-02T00:00:00Z" },
		"dates on weekdays":    func(s *Schedule) { s.Blocked[1].Days = []string{"mon"} },
		"what is not a drill":  func(s *Schedule) { s.Shape = Shape{} },
		"alarm without a name": func(s *Schedule) { s.Alarms = []Alarm{{URL: "http://x"}} },
	} {
		s := good()
		change(&s)
		if err := ValidateSchedule("nightly", s); (err == nil) != (name == "") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if ValidateSchedule("a-name-that-leaves-no-room-for-the-time-of-day-at-all", good()) == nil {
		t.Error("a name that makes too long ids was taken")
	}
	if ValidateGate("g", Gate{}) == nil || ValidateGate("g", Gate{Operators: []string{"ann"}}) != nil {
		t.Error("a gate is of 1 to 100 operators")
	}
}

func TestAWindowOverMidnightBelongsToTheDayOnWhichItBegins(t *testing.T) {
	at := func(day int, clock string) time.Time { // 1 March 2026 is a Sunday
		d, err := ParseTimeOfDay(clock)
		if err != nil {
			t.Fatal(err)
		}
		return time.Date(2026, 3, day, 0, 0, 0, 0, time.UTC).Add(d)
	}
	night := Window{From: "22:00", To: "06:00", Days: []string{"fri"}}
	for _, tt := range []struct {
		w    Window
		t    time.Time
		want bool
	}{
		{night, at(6, "21:59"), false}, // Friday
		{night, at(6, "22:00"), true},
		{night, at(7, "05:59"), true}, // Saturday, of Friday's window
		{night, at(7, "06:00"), false},
		{night, at(7, "23:00"), false},
		{night, at(6, "05:00"), false}, // of Thursday's
		{Window{From: "09:00", To: "17:00"}, at(3, "09:00"), true},
		{Window{From: "09:00", To: "17:00"}, at(3, "17:00"), false},
		{Window{From: "00:00", To: "00:00"}, at(3, "12:00"), true}, // the whole day
		{Window{From: "2026-03-02T10:00:00+02:00", To: "2026-03-02T12:00:00+02:00"}, at(2, "08:00"), true},
		{Window{From: "2026-03-02T10:00:00+02:00", To: "2026-03-02T12:00:00+02:00"}, at(2, "10:00"), false},
		{Window{From: "whenever", To: "10:00"}, at(2, "10:00"), true}, // unreadable: rather wait
	} {
		if got := tt.w.Contains(tt.t); got != tt.want {
			t.Errorf("%+v at %s: expected %v, found %v", tt.w, tt.t.Format("Mon 15:04"), tt.want, got)
		}
	}
}
