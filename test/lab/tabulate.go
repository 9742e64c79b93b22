package lab

import (
	"fmt"
	"slices"
	"strings"

	"github.com/federator/federator/test/lab/checker"
)

// The marks between which the table stands on its page.
const (
	TableBegin = "<!-- the table of the failure lab begins: make lab-table writes it -->"
	TableEnd   = "<!-- the table of the failure lab ends -->"
)

// Scenarios are all that the lab plays, in their order.
func Scenarios() []Scenario { return slices.Concat(WideScenarios(), DeepScenarios()) }

// Rewrite puts a table between the marks of a page.
func Rewrite(page, table string) (string, error) {
	before, rest, begins := strings.Cut(page, TableBegin)
	_, after, ends := strings.Cut(rest, TableEnd)
	if !begins || !ends {
		return "", fmt.Errorf("expected the lines %q and %q, found not both; put them where the table has to be", TableBegin, TableEnd)
	}
	return before + TableBegin + "\n" + table + TableEnd + after, nil
}

// Listed are the scenarios that a page's table has rows of.
func Listed(page string) []string {
	_, rest, _ := strings.Cut(page, TableBegin)
	table, _, _ := strings.Cut(rest, TableEnd)
	var names []string
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		name := strings.TrimSpace(cells[min(1, len(cells)-1)])
		if len(cells) == columns+2 && name != "scenario" && !strings.HasPrefix(name, "---") {
			names = append(names, name)
		}
	}
	return names
}

const columns = 9

// Table is what runs found, as Markdown. Every scenario has to be in one of them.
func Table(runs []Run) (string, error) {
	rows := map[string]Row{}
	var b strings.Builder
	for _, run := range runs {
		fmt.Fprintf(&b, "World `%s`: %s, seed %d.  \n", run.World, run.Date.UTC().Format("2006-01-02 15:04 UTC"), run.Seed)
		for _, row := range run.Rows {
			rows[row.Scenario] = row
		}
	}
	b.WriteString("\n| scenario | lookups: asked, unanswered, wrong | bad address named for at most | reads and writes in order; slowest | writes acknowledged, lost | handshakes, failed | named by check within | whole again; then quiet | also |\n")
	b.WriteString(strings.Repeat("|---", columns) + "|\n")
	for _, sc := range Scenarios() {
		row, ok := rows[sc.Name]
		if !ok {
			return "", fmt.Errorf("expected a result of the scenario %q, found none; run all of make lab", sc.Name)
		}
		b.WriteString(row.line())
	}
	b.WriteString("\n" + growthWords(runs))
	return b.String(), nil
}

// line is the row as Markdown.
func (r Row) line() string {
	dns, mtls, kept := r.of("DNS"), r.of("mTLS"), r.of("acknowledged writes")
	check, whole := r.of("check"), r.of("convergence")
	operations, slowest := 0.0, 0.0
	for _, report := range r.Reports {
		if strings.HasPrefix(report.Checker, "linearizability") {
			operations += report.Checked.Value
			slowest = max(slowest, report.Worst.Value)
		}
	}
	named := "-"
	if check.Worst.Value > 0 {
		named = inSeconds(check.Worst.Value)
	}
	var also []string
	for _, f := range r.Figures {
		also = append(also, f.Name+" "+inSeconds(f.Value))
	}
	cells := []string{
		r.Scenario,
		fmt.Sprintf("%.0f, %.0f, %.0f", dns.Checked.Value, more(dns, "unanswered"), more(dns, "wrong")),
		inSeconds(dns.Worst.Value),
		fmt.Sprintf("%.0f; %s", operations, inSeconds(slowest)),
		fmt.Sprintf("%.0f, %d", kept.Checked.Value, kept.Total),
		fmt.Sprintf("%.0f, %d", mtls.Checked.Value, mtls.Total),
		named,
		fmt.Sprintf("%s; %s", inSeconds(whole.Worst.Value), inSeconds(more(check, "quiet within"))),
		strings.Join(also, ", "),
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

func inSeconds(v float64) string { return fmt.Sprintf("%.1f s", v) }

// of returns the report of a checker.
func (r Row) of(name string) checker.Report {
	for _, report := range r.Reports {
		if report.Checker == name {
			return report
		}
	}
	return checker.Report{}
}

// more returns one of a report's other figures.
func more(r checker.Report, name string) float64 {
	for _, f := range r.More {
		if f.Name == name {
			return f.Value
		}
	}
	return 0
}

// growthWords says how the agents of each world grew.
func growthWords(runs []Run) string {
	var b strings.Builder
	for _, run := range runs {
		for _, row := range run.Rows {
			if g := row.of("growth"); strings.HasPrefix(row.Scenario, longRun) {
				fmt.Fprintf(&b, "World `%s` lasted %.0f s; the agent that grew most took %.1f MiB and %.1f goroutines more a minute.  \n",
					run.World, row.Seconds, g.Worst.Value, more(g, "goroutines"))
			}
		}
	}
	return b.String()
}
