package drill

import (
	_ "embed" // for the page
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
)

// page is the template of the HTML report. It holds all that it needs.
//
//go:embed page.html
var page string

// pageView is what the page shows.
type pageView struct {
	*Report
	Title, Headline string
	What, By, Ran   string
	Result, Shaped  string
	Tiles           []tile
	Legend          []legend
	Timeline        *chart
	Answers         []*chart
	Others          []*chart
	Rows            []regionRow
	Log             []eventRow
}

// tile is one figure that matters.
type tile struct{ Value, Label, Note, Class string }

type legend struct{ Name, Class, Note string }

type regionRow struct {
	*RegionReport
	Shift, P50, P99, Because, Said string
}

type eventRow struct{ Time, Offset, Region, What string }

// HTML writes the report as one page that needs nothing else: no script, no font,
// no other file. Whatever people gave is escaped.
func (r *Report) HTML(w io.Writer) error {
	t, err := template.New("report").Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, r.view())
}

func (r *Report) view() *pageView {
	r = r.flat()
	a := r.span()
	classes, order := palette(r)
	v := &pageView{
		Report: r, Title: "Drill " + r.ID, Headline: strings.Join(r.Why, "; "), What: r.what(), By: r.by(), Ran: r.ran(),
		Result: r.outcome(), Shaped: shapeWords(r.Shape), Tiles: r.tiles(), Timeline: r.timeline(a),
	}
	for _, name := range order {
		l := legend{Name: name, Class: classes[name]}
		if l.Class == "drilled" {
			l.Note = "drilled"
		}
		v.Legend = append(v.Legend, l)
	}
	sampled := false
	for i := range r.Regions {
		g := &r.Regions[i]
		v.Rows = append(v.Rows, regionRow{g, or(r.shift(g), "–"), latency(g.P50), latency(g.P99), strings.Join(g.Why, "; "), g.Reason})
		if g.Samples != nil && len(g.Samples.Buckets) > 0 {
			sampled = true
			v.Answers = append(v.Answers, r.answers(g, a, classes))
		}
	}
	if sampled {
		v.Others = []*chart{r.named(a, classes), r.latencies(a, classes)}
	}
	for _, e := range r.Events {
		v.Log = append(v.Log, eventRow{e.At.UTC().Format("15:04:05.000"), offset(about(e.At.Sub(a.zero))), e.Region, e.What})
	}
	return v
}

// flat returns the report without the control characters of what people gave.
func (r *Report) flat() *Report {
	out := *r
	out.Reason, out.Actor, out.Detail, out.Scope = flat(r.Reason), flat(r.Actor), flat(r.Detail), flat(r.Scope)
	out.Why, out.Regions, out.Events = allFlat(r.Why), slices.Clone(r.Regions), slices.Clone(r.Events)
	for i := range out.Regions {
		g := &out.Regions[i]
		g.Reason, g.Why = flat(g.Reason), allFlat(g.Why)
	}
	for i := range out.Events {
		out.Events[i].What = flat(out.Events[i].What)
	}
	return &out
}

func allFlat(texts []string) []string {
	var out []string
	for _, s := range texts {
		out = append(out, flat(s))
	}
	return out
}

// ObjectiveWords says what the objective asks for.
func (r *Report) ObjectiveWords() string {
	return time.Duration(r.Objective).String() + " after the ramp no answer names " + r.Scope
}

// tiles are the figures at the top.
func (r *Report) tiles() []tile {
	good := func(n uint64) string {
		switch {
		case r.Totals.Lookups == 0:
			return ""
		case n == 0:
			return "good"
		}
		return "bad"
	}
	out := []tile{{Value: number(float64(r.Totals.Failed)), Label: "failed lookups", Note: "of " + number(float64(r.Totals.Lookups)), Class: good(r.Totals.Failed)}}
	if r.timed() {
		out = append(out, tile{Value: number(float64(r.Totals.Late)), Label: "late answers", Note: "named " + r.Scope + " after the objective", Class: good(r.Totals.Late)})
	}
	slowest, where := time.Duration(0), ""
	for i := range r.Regions {
		if p := time.Duration(r.Regions[i].P99); p > slowest {
			slowest, where = p, r.Regions[i].Region
		}
	}
	if slowest > 0 {
		out = append(out, tile{Value: about3(slowest), Label: "slowest p99", Note: "in " + where})
	}
	granted := 0
	for i := range r.Regions {
		if r.Regions[i].Vote == "granted" {
			granted++
		}
	}
	out = append(out, tile{Value: number(float64(granted)) + "/" + number(float64(len(r.Regions))), Label: "regions granted it", Note: "coordinated by " + r.Coordinator})
	if !r.Begun.IsZero() && !r.Ended.IsZero() {
		out = append(out, tile{Value: about(r.Ended.Sub(r.Begun)).String(), Label: "from start to end", Note: r.Begun.UTC().Format("2 Jan 2006, 15:04 UTC")})
	}
	return out
}

// about3 writes a duration with three digits or so.
func about3(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}
