package catalog

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The bounds of drills.
const (
	// MinDrill and MaxDrill bound how long a drill takes, with all its extensions.
	MinDrill = time.Second
	MaxDrill = 24 * time.Hour
	// MinIsolate and MaxIsolate do so for drills of kind [DrillIsolate].
	MinIsolate = 5 * time.Second
	MaxIsolate = 10 * time.Minute
	// VoteWindow is how long the regions may take to agree on a drill.
	VoteWindow = 15 * time.Second
	// MaxAlarms bounds the alarms of one drill.
	MaxAlarms = 16
	// MaxSampleBuckets bounds the buckets of [DrillSamples].
	MaxSampleBuckets = 240

	maxReason  = 1024
	maxTimes   = 48
	maxWindows = 64
	// maxScheduleName leaves room for "-20060102T1504" in the ids of its drills.
	maxScheduleName = 63 - len("-20060102T1504")
)

// Longest is how long a drill of the kind may take, with all its extensions.
func (k DrillKind) Longest() time.Duration {
	if k == DrillIsolate {
		return MaxIsolate
	}
	return MaxDrill
}

// ValidateDrillID reports whether id may name a drill: 1 to 63 letters, digits
// and hyphens, beginning and ending with a letter or digit.
func ValidateDrillID(id string) error {
	if isLabel(strings.ToLower(id)) {
		return nil
	}
	return fmt.Errorf("drill id %q: expected 1 to 63 letters, digits and '-', beginning and ending with a letter or digit", id)
}

// ValidateDrill reports everything that is wrong with what an operator asks for;
// what the regions write into a drill later is not looked at.
func ValidateDrill(d Drill) error {
	errs := []error{ValidateDrillID(d.ID), ValidateLabel("coordinating region", d.Region)}
	if len(d.Reason) > maxReason {
		errs = append(errs, fmt.Errorf("reason: expected at most %d bytes, found %d", maxReason, len(d.Reason)))
	}
	if d.Schedule != "" {
		errs = append(errs, ValidateScheduleName(d.Schedule))
	}
	return errors.Join(append(errs, validatePractice(d.Kind, d.Scope, d.Shape, d.Objective, d.Alarms))...)
}

// validatePractice checks what drills and schedules have in common.
func validatePractice(kind DrillKind, scope Scope, shape Shape, objective Duration, alarms []Alarm) error {
	errs := []error{scope.Validate(), shape.validate(kind)}
	switch kind {
	case DrillEvacuate:
	case DrillIsolate:
		if scope != (Scope{Region: scope.Region}) {
			errs = append(errs, fmt.Errorf("scope %s: only a whole region can be isolated", scope))
		}
	default:
		errs = append(errs, fmt.Errorf("kind %q: expected %s or %s", kind, DrillEvacuate, DrillIsolate))
	}
	if objective < 0 || time.Duration(objective) > MaxDrill {
		errs = append(errs, fmt.Errorf("objective %s: expected 0 to %s", time.Duration(objective), MaxDrill))
	}
	if len(alarms) > MaxAlarms {
		errs = append(errs, fmt.Errorf("alarms: expected at most %d, found %d", MaxAlarms, len(alarms)))
	}
	for _, a := range alarms {
		errs = append(errs, ValidateAlarm(a))
	}
	return errors.Join(errs...)
}

// Validate reports whether the scope names a region, and a zone or a cluster of
// it if any, and a service if any. Whether they exist is another question.
func (s Scope) Validate() error {
	errs := []error{ValidateLabel("region", s.Region)}
	if s.Zone != "" {
		errs = append(errs, ValidateLabel("zone", s.Zone))
	}
	if s.Cluster != "" {
		errs = append(errs, ValidateCluster(s.Cluster))
	}
	if s.Zone != "" && s.Cluster != "" {
		errs = append(errs, fmt.Errorf("scope %s: expected a zone or a cluster, found both", s))
	}
	if s.Service != (ServiceName{}) {
		errs = append(errs, s.Service.Validate())
	}
	return errors.Join(errs...)
}

func (s Shape) validate(kind DrillKind) error {
	parts := []Duration{s.Ramp, s.Hold, s.Return}
	if slices.ContainsFunc(parts, func(d Duration) bool { return d < 0 || time.Duration(d) > MaxDrill }) {
		return fmt.Errorf("ramp %s, hold %s and return %s: expected each from 0 to %s", time.Duration(s.Ramp), time.Duration(s.Hold), time.Duration(s.Return), MaxDrill)
	}
	shortest := MinDrill
	if kind == DrillIsolate {
		shortest = MinIsolate
		if s.Ramp != 0 || s.Return != 0 {
			return errors.New("a region is isolated at once: expected neither ramp nor return")
		}
	}
	if n := s.Length(); n < shortest || n > kind.Longest() {
		return fmt.Errorf("a drill of kind %q takes %s to %s in all, found %s", kind, shortest, kind.Longest(), n)
	}
	return nil
}

// ValidateAlarm reports everything that is wrong with an alarm.
func ValidateAlarm(a Alarm) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("alarm %q: "+format, append([]any{a.Name}, args...)...)
	}
	if err := ValidateLabel("alarm", a.Name); err != nil {
		return err
	}
	switch {
	case (a.URL != "") == (a.Query != ""):
		return bad("expected either a url or a query")
	case a.URL != "" && (a.Prometheus != "" || a.Min != nil || a.Max != nil):
		return bad("prometheus, min and max belong to a query, not to a url")
	case a.URL != "":
		return validateURL(bad, "url", a.URL)
	case len(a.Query) > maxReason:
		return bad("expected a query of at most %d bytes, found %d", maxReason, len(a.Query))
	case a.Min == nil && a.Max == nil:
		return bad("expected min, max or both for the query")
	case a.Min != nil && a.Max != nil && *a.Min > *a.Max:
		return bad("expected min to be at most max, found %g and %g", *a.Min, *a.Max)
	}
	return validateURL(bad, "prometheus", a.Prometheus)
}

func validateURL(bad func(string, ...any) error, field, s string) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxReason || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return bad("%s: expected an http or https URL of at most %d bytes without credentials, found %.100q", field, maxReason, s)
	}
	return nil
}

// ValidateScheduleName reports whether the name may be that of a schedule: a DNS
// label that leaves room for the time in the ids of its drills.
func ValidateScheduleName(name string) error {
	if isLabel(name) && len(name) <= maxScheduleName {
		return nil
	}
	return fmt.Errorf("schedule %q: expected a DNS label of at most %d bytes", name, maxScheduleName)
}

// ValidateSchedule reports everything that is wrong with a schedule.
func ValidateSchedule(name string, s Schedule) error {
	errs := []error{ValidateScheduleName(name), ValidateLabel("coordinating region", s.Region), validateDays(s.Days)}
	if len(s.At) == 0 || len(s.At) > maxTimes {
		errs = append(errs, fmt.Errorf("at: expected 1 to %d times of day, found %d", maxTimes, len(s.At)))
	}
	for _, at := range s.At {
		if _, err := ParseTimeOfDay(at); err != nil {
			errs = append(errs, fmt.Errorf("at: %w", err))
		}
	}
	if len(s.Blocked) > maxWindows {
		errs = append(errs, fmt.Errorf("blocked: expected at most %d windows, found %d", maxWindows, len(s.Blocked)))
	}
	for _, w := range s.Blocked {
		errs = append(errs, w.Validate())
	}
	return errors.Join(append(errs, validatePractice(s.Kind, s.Scope, s.Shape, s.Objective, s.Alarms))...)
}

// ValidateGate reports everything that is wrong with a gate.
func ValidateGate(name string, g Gate) error {
	errs := []error{ValidateLabel("gate", name)}
	if len(g.Operators) == 0 || len(g.Operators) > 100 {
		errs = append(errs, fmt.Errorf("gate %q: expected 1 to 100 operators who may open it, found %d", name, len(g.Operators)))
	}
	for _, o := range g.Operators {
		errs = append(errs, ValidateLabel("operator", o))
	}
	return errors.Join(errs...)
}

// weekdays are the days as schedules write them, by [time.Weekday].
func weekdays() []string { return []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} }

func validateDays(days []string) error {
	for _, d := range days {
		if !slices.Contains(weekdays(), d) {
			return fmt.Errorf("day %q: expected one of %s", d, strings.Join(weekdays(), ", "))
		}
	}
	return nil
}

// OnDay reports whether the days, as schedules write them, name the day of t in
// UTC; no days means every day.
func OnDay(days []string, t time.Time) bool {
	return len(days) == 0 || slices.Contains(days, weekdays()[t.UTC().Weekday()])
}

// ParseTimeOfDay reads "15:04" as the time since midnight.
func ParseTimeOfDay(s string) (time.Duration, error) {
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, fmt.Errorf("time of day %q: expected HH:MM in UTC, for example 14:30", s)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// Validate reports everything that is wrong with the window.
func (w Window) Validate() error {
	if err := validateDays(w.Days); err != nil {
		return fmt.Errorf("window: %w", err)
	}
	from, err1 := time.Parse(time.RFC3339, w.From)
	to, err2 := time.Parse(time.RFC3339, w.To)
	switch {
	case err1 == nil && err2 == nil && len(w.Days) > 0:
		return fmt.Errorf("window from %s to %s: days belong to times of day, not to dates", w.From, w.To)
	case err1 == nil && err2 == nil && !from.Before(to):
		return fmt.Errorf("window from %s to %s: expected it to end after it begins", w.From, w.To)
	case err1 == nil && err2 == nil:
		return nil
	}
	_, err1 = ParseTimeOfDay(w.From)
	_, err2 = ParseTimeOfDay(w.To)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("window from %.40q to %.40q: expected two dates with a time (RFC 3339), or two times of day (HH:MM, UTC)", w.From, w.To)
	}
	return nil
}

// Contains reports whether t is in the window. A window over midnight belongs to
// the day on which it begins. One that cannot be read contains every time: a
// scheduled drill rather waits than begins when it must not.
func (w Window) Contains(t time.Time) bool {
	if w.Validate() != nil {
		return true
	}
	t = t.UTC()
	if from, err := time.Parse(time.RFC3339, w.From); err == nil {
		to, _ := time.Parse(time.RFC3339, w.To) // valid
		return !t.Before(from) && t.Before(to)
	}
	from, _ := ParseTimeOfDay(w.From) // valid
	to, _ := ParseTimeOfDay(w.To)
	at := t.Sub(t.Truncate(24 * time.Hour))
	if from < to {
		return OnDay(w.Days, t) && at >= from && at < to
	}
	return OnDay(w.Days, t) && at >= from || OnDay(w.Days, t.AddDate(0, 0, -1)) && at < to
}
