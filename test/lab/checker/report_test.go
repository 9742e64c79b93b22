package checker

import (
	"strings"
	"testing"
	"time"
)

func TestOnlyWhatMustNeverBeIsTimeless(t *testing.T) {
	lost, open := Violation{Found: "nothing"}, Violation{Found: "no answer", Open: true}
	report := func(checker string, total int, all ...Violation) Report {
		return Report{Checker: checker, Checked: count("looks", total), Violations: all, Total: total}
	}
	for _, tt := range []struct {
		name   string
		report Report
		want   bool
	}{
		{"nothing was looked at", report(acknowledgedWrites, 0), false},
		{"no history", report("linearizability of west", 0), false},
		{"a lost write", report(acknowledgedWrites, 1, lost), true},
		{"no answer to the audit", report(acknowledgedWrites, 1, open), false},
		{"a lost write, and no answer", report(acknowledgedWrites, 2, open, lost), true},
		{"more than are listed", report(acknowledgedWrites, 3, open, open), true},
		{"no order of reads and writes", report("linearizability of west", 1, lost), true},
		{"no decision whether there is one", report("linearizability of west", 1, open), false},
		{"a late answer of DNS", report("DNS", 1, lost), false},
	} {
		if found := tt.report.Timeless(); found != tt.want {
			t.Errorf("%s: expected %t, found %t", tt.name, tt.want, found)
		}
	}
}

func TestWhatIsMissingAtTheBoundAndThereAtASecondLookIsLateAndNotLost(t *testing.T) {
	at := func(where, expected string) Violation { return Violation{Where: where, Expected: expected} }
	gone, late, silent, odd := at("west/west-0 policy a", "number 3"), at("west/west-0 policy b", "number 3"), Violation{Where: "west/west-1", Open: true}, at("west/west-0 policy c", neverWritten)
	for _, tt := range []struct {
		name         string
		before, last []Violation
		open         string // whether each is
	}{
		{"still missing", []Violation{gone}, []Violation{gone}, "lost"},
		{"late", []Violation{late}, nil, "open"},
		{"one of each", []Violation{gone, late}, []Violation{gone}, "lost open"},
		{"no answer twice", []Violation{silent}, []Violation{silent}, "open"},
		{"no answer at first", []Violation{silent}, []Violation{gone}, "lost open"},
		{"no answer in the end", []Violation{gone}, []Violation{silent}, "open open"},
		{"a number that nobody wrote, seen once", []Violation{odd}, nil, "lost"},
	} {
		var found []string
		for _, v := range confirmed(tt.before, tt.last, time.Second) {
			found = append(found, map[bool]string{true: "open", false: "lost"}[v.Open])
		}
		if strings.Join(found, " ") != tt.open {
			t.Errorf("%s: expected %s, found %v", tt.name, tt.open, found)
		}
	}
}

func TestAnAuditThatNobodyAnswersIsNotTimeless(t *testing.T) {
	c := NewAcknowledged(AcknowledgedOptions{Targets: []Target{{Region: "west", Name: "west-0", Socket: t.TempDir() + "/none"}}, Again: time.Millisecond})
	c.book.acknowledge("policy lab/a", c.book.attempt("policy lab/a", "west"))
	c.Audit(t.Context(), 0)
	if r := c.Report(); r.Total != 1 || r.OK() || r.Timeless() {
		t.Errorf("expected one violation that is not timeless, found %v", r)
	}
}

func TestAHistoryThatIsNotDecidedInTimeIsNotTimeless(t *testing.T) {
	c := NewLinearizability(LinearizabilityOptions{Region: "west", CheckWithin: time.Millisecond})
	for i := range 40 { // all at once: their orders are too many to try, and none ends with what is read
		c.history.add(write(i, uint64(i+1), 0, 1000))
	}
	c.history.add(read(100, 41, 1001, 1002))
	if r := c.Report(); r.Total != 1 || r.OK() || r.Timeless() {
		t.Errorf("expected one violation that is not timeless, found %v", r)
	}
}
