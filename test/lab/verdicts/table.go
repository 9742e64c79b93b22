package verdicts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// The part of a document that is made by a run is between these lines.
const (
	opening = "<!-- verdicts -->"
	closing = "<!-- /verdicts -->"
)

// Table writes results as a table in Markdown, a column for each.
func Table(results []Result) string {
	var b strings.Builder
	row := func(name string, cell func(Result) string) {
		fmt.Fprintf(&b, "| %s |", name)
		for _, r := range results {
			fmt.Fprintf(&b, " %s |", cell(r))
		}
		b.WriteString("\n")
	}
	row("", func(r Result) string { return r.World })
	b.WriteString("|---" + strings.Repeat("|---", len(results)) + "|\n")
	row("weather, in turn", func(r Result) string { return strings.Join(r.Weathers, "; ") })
	row("begun, seed", func(r Result) string { return fmt.Sprintf("%s, %d", r.Date.Format("2006-01-02 15:04 UTC"), r.Seed) })
	row("it took", func(r Result) string { return minutes(r.Elapsed) })
	row("of that without a loss, for every pair of regions at least", func(r Result) string { return minutes(r.Quiet) })
	row("agents", func(r Result) string { return fmt.Sprintf("%d in 3 regions", r.Agents) })
	row("echoes sent; answered", func(r Result) string {
		return fmt.Sprintf("%.0f; %.0f %%", r.Counts.Sent, 100*r.Counts.Answered/max(1, r.Counts.Sent))
	})
	row("**false verdicts**", func(r Result) string { return fmt.Sprintf("**%d**", len(r.False)) })
	row("and while the WAN stood still by itself", func(r Result) string {
		return fmt.Sprintf("%d, in %d times of 1 s or more; late at most by %.1f s", len(r.OfStalls), r.Stalls, r.Late.Seconds())
	})
	row("real losses of a region", func(r Result) string { return kinds(r.Losses) })
	row("**until every agent of the others says silent** (median / worst)", func(r Result) string {
		return "**" + middleAndWorst(each(r.Losses, func(l SeenLoss) time.Duration { return l.Silent })) + "**"
	})
	row("**until every one says out: its endpoints do not answer either**", func(r Result) string {
		return "**" + middleAndWorst(each(r.Losses, func(l SeenLoss) time.Duration { return l.Out })) + "**"
	})
	row("of these within 5 s", func(r Result) string { return inTime(r.Losses) })
	row("until all say that it is back, after its return", func(r Result) string {
		return middleAndWorst(each(r.Losses, func(l SeenLoss) time.Duration { return l.Back }))
	})
	for i := range peers(results) {
		row(fmt.Sprintf("memberlist %s: members", results[0].Peers[i].Name), func(r Result) string { return fmt.Sprint(r.Peers[i].Members) })
		row("living members declared dead; told to", func(r Result) string {
			return fmt.Sprintf("%d; %d", r.Peers[i].FalseDeaths, r.Peers[i].Reports)
		})
		row("until all others knew of a lost region's members", func(r Result) string { return middleAndWorst(r.Peers[i].Known) })
	}
	row("load of the machine, mean / most", func(r Result) string {
		return fmt.Sprintf("%.1f / %.1f on %d cores", r.LoadMean, r.LoadMost, r.Cores)
	})
	row("priority on it", func(r Result) string { return r.Priority })
	row("CPU of one agent", func(r Result) string {
		return fmt.Sprintf("%.1f %% of a core", 100*r.Counts.CPU/max(1, r.Elapsed.Seconds())/float64(max(1, r.Agents)))
	})
	row("times that an agent stood still for more than 250 ms", func(r Result) string { return fmt.Sprintf("%.0f", r.Counts.Pauses) })
	return b.String()
}

func minutes(d time.Duration) string { return fmt.Sprintf("%.1f min", d.Minutes()) }

// peers are as many as every result has.
func peers(results []Result) int {
	n := len(results[0].Peers)
	for _, r := range results {
		n = min(n, len(r.Peers))
	}
	return n
}

func inTime(losses []SeenLoss) string {
	late := slices.DeleteFunc(slices.Clone(losses), func(l SeenLoss) bool { return l.InTime() })
	text := fmt.Sprintf("%d of %d", len(losses)-len(late), len(losses))
	if excused := slices.DeleteFunc(late, func(l SeenLoss) bool { return !l.Excused() }); len(excused) > 0 {
		text += fmt.Sprintf(", %d late while agents or the WAN stood still", len(excused))
	}
	return text
}

func kinds(losses []SeenLoss) string {
	count := map[Kind]int{}
	for _, l := range losses {
		count[l.Kind]++
	}
	return fmt.Sprintf("%d: %d isolated, %d killed", len(losses), count[Isolated], count[Killed])
}

// WriteInto replaces what is between the marks of a document by text, and makes
// the document if there is none. head is what a new one begins with.
func WriteInto(path, head, text string) error {
	b, err := os.ReadFile(path)
	document := string(b)
	if errors.Is(err, fs.ErrNotExist) {
		document, err = head+"\n"+opening+"\n"+closing+"\n", nil
	}
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(document, opening+"\n")
	_, after, ends := strings.Cut(rest, closing+"\n")
	if !found || !ends {
		return fmt.Errorf("%s: expected the lines %s and %s, found no such part; add them where the table is to be", path, opening, closing)
	}
	return os.WriteFile(path, []byte(before+opening+"\n"+text+closing+"\n"+after), 0o644)
}
