package lab_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/test/lab"
	"github.com/federator/federator/test/lab/checker"
)

func names() []string {
	var all []string
	for _, sc := range lab.Scenarios() {
		all = append(all, sc.Name)
	}
	return all
}

func TestEveryScenarioHasARowOnThePageAndEveryRowAScenario(t *testing.T) {
	page, err := os.ReadFile("../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	if listed := lab.Listed(string(page)); !slices.Equal(listed, names()) {
		t.Errorf("expected the table of docs/reliability.md to have the rows\n%q\nfound\n%q\nrun make lab and make lab-table", names(), listed)
	}
}

func TestScenariosHaveNamesOfTheirOwnAndSayWhatTheyDo(t *testing.T) {
	seen := map[string]bool{}
	for _, sc := range lab.Scenarios() {
		if seen[sc.Name] || sc.Says == "" || sc.Do == nil || strings.Contains(sc.Name, "|") {
			t.Errorf("expected a name of its own, a sentence and something to do, found %q: %q", sc.Name, sc.Says)
		}
		seen[sc.Name] = true
	}
}

// found is a run in which every scenario was played.
func found() lab.Run {
	run := lab.Run{World: "wide", Seed: 7, Date: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	for _, name := range names() {
		run.Rows = append(run.Rows, lab.Row{Scenario: name, Reports: []checker.Report{
			{Checker: "DNS", Checked: checker.Figure{Value: 1000}, Worst: checker.Figure{Value: 3.21}, More: []checker.Figure{{Name: "wrong", Value: 2}}},
			{Checker: "linearizability of west", Checked: checker.Figure{Value: 40}, Worst: checker.Figure{Value: 0.5}},
			{Checker: "linearizability of east", Checked: checker.Figure{Value: 60}, Worst: checker.Figure{Value: 0.25}},
			{Checker: "acknowledged writes", Checked: checker.Figure{Value: 30}, Total: 1},
		}, Figures: []checker.Figure{{Name: "writes back", Value: 0.4}}})
	}
	return run
}

func TestTheTableHasOneRowAScenarioAndThePageKeepsTheRest(t *testing.T) {
	table, err := lab.Table([]lab.Run{found()})
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"seed 7", "| leader killed | 1000, 0, 2 | 3.2 s | 100; 0.5 s | 30, 1 |", "writes back 0.4 s"} {
		if !strings.Contains(table, words) {
			t.Errorf("expected %q in the table, found\n%s", words, table)
		}
	}
	page, err := lab.Rewrite("before\n"+lab.TableBegin+"\nwhat was here\n"+lab.TableEnd+"\nafter\n", table)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(page, "before\n") || !strings.HasSuffix(page, "\nafter\n") || strings.Contains(page, "what was here") {
		t.Errorf("expected the rest of the page as it was, found\n%s", page)
	}
	if !slices.Equal(lab.Listed(page), names()) {
		t.Errorf("expected %q, found %q", names(), lab.Listed(page))
	}
}

func TestATableWithoutAScenarioOrAPageWithoutMarksIsRefused(t *testing.T) {
	run := found()
	run.Rows = run.Rows[1:]
	if _, err := lab.Table([]lab.Run{run}); err == nil || !strings.Contains(err.Error(), names()[0]) {
		t.Errorf("expected to be told of %q, found %v", names()[0], err)
	}
	if _, err := lab.Rewrite("a page", "a table"); err == nil {
		t.Error("expected to be told that the marks are missing")
	}
}
