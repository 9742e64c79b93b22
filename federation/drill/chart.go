package drill

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The geometry of charts, in units of their own view box.
const (
	chartWidth  = 912.0
	marginLeft  = 92.0
	marginRight = 12.0
	marginTop   = 20.0
	axisHeight  = 24.0
	rowHeight   = 30.0
)

// chart is one plot, ready to be written as SVG. Everything in it is a number or
// text that the template escapes.
type chart struct {
	ID, Title, Label string
	Width, Height    float64
	Left, Right      float64
	Top, Bottom      float64
	Bands            []box // behind everything
	XTicks, YTicks   []tick
	Rows             []rowLabel
	Bars             []box
	Lines            []polyline
	Marks            []mark
	Hits             []box
}

// box is a rectangle of a class, with words for whoever points at it.
type box struct {
	X, Y, W, H float64
	Class      string
	Words      string
}

type tick struct {
	At    float64
	Label string
}

type rowLabel struct {
	Y    float64
	Text string
}

// polyline is one series.
type polyline struct {
	Class, Name string
	Points      string
	Count       int
}

// mark is a moment, as a line from top to bottom.
type mark struct {
	X            float64
	Label, Class string
	Anchor       string
}

// axis maps time to the width of a chart. to is after from.
type axis struct {
	zero, from, to time.Time
}

func (a axis) x(t time.Time) float64 {
	part := float64(t.Sub(a.from)) / float64(max(1, a.to.Sub(a.from)))
	return round(marginLeft + min(1, max(0, part))*(chartWidth-marginLeft-marginRight))
}

// round keeps the page small: tenths of a unit are finer than a pixel.
func round(v float64) float64 { return math.Round(v*10) / 10 }

// ticks returns round moments, about eight of them.
func (a axis) ticks() []tick {
	step := a.step()
	var out []tick
	first := a.from.Sub(a.zero).Truncate(step)
	for at := first; !a.zero.Add(at).After(a.to); at += step {
		if a.zero.Add(at).Before(a.from) {
			continue
		}
		out = append(out, tick{a.x(a.zero.Add(at)), offset(at)})
	}
	return out
}

func (a axis) step() time.Duration {
	span := a.to.Sub(a.from)
	for _, step := range []time.Duration{
		100 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour,
	} {
		if span/step <= 8 {
			return step
		}
	}
	return max(4*time.Hour, (span / 8).Round(time.Hour))
}

// offset writes how long after the start something was.
func offset(d time.Duration) string {
	if d == 0 {
		return "start"
	}
	text := d.Abs().String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	if d < 0 {
		return "−" + text
	}
	return "+" + text
}

// scale maps values from 0 to a round maximum to the height of a chart.
type scale struct {
	top, bottom, most float64
}

// scaleTo returns a scale for values up to most.
func scaleTo(most, top, bottom float64) scale {
	nice := 1.0
	if most > 0 {
		power := math.Pow(10, math.Floor(math.Log10(most)))
		for _, m := range []float64{1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10} {
			if nice = m * power; nice >= most {
				break
			}
		}
	}
	return scale{top, bottom, nice}
}

func (s scale) y(v float64) float64 { return round(s.bottom - v/s.most*(s.bottom-s.top)) }

func (s scale) ticks(label func(float64) string) []tick {
	var out []tick
	for _, part := range []float64{0, 0.5, 1} {
		out = append(out, tick{s.y(part * s.most), label(part * s.most)})
	}
	return out
}

// number writes a value with three digits or so.
func number(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v/1000, 'g', 3, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// micros writes a value in microseconds as a duration.
func micros(v float64) string {
	return time.Duration(v * float64(time.Microsecond)).Round(10 * time.Nanosecond).String()
}

// newChart returns an empty chart of a height without its axis.
func newChart(id, title, label string, height float64, a axis) *chart {
	return &chart{
		ID: id, Title: title, Label: label, Width: chartWidth, Height: marginTop + height + axisHeight,
		Left: marginLeft, Right: chartWidth - marginRight, Top: marginTop, Bottom: marginTop + height, XTicks: a.ticks(),
	}
}

// line adds a series; points without a value are left out.
func (c *chart) line(class, name string, xs, ys []float64) {
	var b strings.Builder
	for i := range xs {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%g,%g", xs[i], ys[i])
	}
	c.Lines = append(c.Lines, polyline{class, name, b.String(), len(xs)})
}

// moments draws the start, the objective and the end.
func (c *chart) moments(r *Report, a axis) {
	add := func(t time.Time, label, class string) {
		if t.IsZero() {
			return
		}
		m := mark{a.x(t), label, class, "start"}
		if m.X > c.Right-120 {
			m.Anchor = "end"
		}
		c.Marks = append(c.Marks, m)
	}
	add(r.Begun, "", "moment")
	if r.timed() {
		add(r.Deadline, "objective", "deadline")
	}
	add(r.Ended, "end", "moment")
}

// held shades the time in which the scope must not be named, and the rest of the
// time in which the drill acts.
func (c *chart) held(r *Report, a axis) {
	band := func(from, to time.Time, class string) {
		if from.IsZero() || to.IsZero() || !to.After(from) {
			return
		}
		x := a.x(from)
		c.Bands = append(c.Bands, box{X: x, Y: c.Top, W: round(a.x(to) - x), H: c.Bottom - c.Top, Class: class})
	}
	end := r.Ended
	if end.IsZero() {
		end = a.to
	}
	band(r.Begun, end, "acting")
	if r.timed() {
		band(r.Deadline, r.Restored, "forbidden")
	}
}
