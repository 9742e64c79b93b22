package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/network"
	"github.com/federator/federator/test/lab/network/wan"
)

// Cut is that what regions send to others is lost: of each pair, what the first
// sends to the second. A pair of which one direction is cut can connect in
// neither.
type Cut struct{ Pairs [][2]string }

// Partition is that two regions cannot reach each other.
func Partition(a, b string) Cut { return Cut{[][2]string{{a, b}, {b, a}}} }

// Isolation is that a region can reach none of the others.
func Isolation(region string, others ...string) Cut {
	var f Cut
	for _, o := range others {
		f.Pairs = append(f.Pairs, Partition(region, o).Pairs...)
	}
	return f
}

// OneWay is that nothing of what a region sends arrives at another one.
func OneWay(from, to string) Cut { return Cut{[][2]string{{from, to}}} }

func (f Cut) String() string {
	var words []string
	for _, p := range f.Pairs {
		words = append(words, p[0]+" to "+p[1])
	}
	return "cut: " + strings.Join(words, ", ")
}

// Touches implements [Fault].
func (f Cut) Touches() []string {
	var all []string
	for _, p := range f.Pairs {
		all = append(all, link(p[0], p[1]))
	}
	return all
}

// link names the pair of two regions, whatever their order.
func link(a, b string) string { return min(a, b) + "~" + max(a, b) }

// Begin implements [Fault].
func (f Cut) Begin(w *World) error {
	var err error
	for _, p := range f.Pairs {
		err = errors.Join(err, w.Net.Cut(p[0], p[1]))
	}
	for _, p := range f.Pairs {
		w.beginCut(p[0], p[1])
		w.beginCut(p[1], p[0])
	}
	return err
}

// End implements [Fault].
func (f Cut) End(w *World) error {
	var err error
	for _, p := range f.Pairs {
		w.endCut(p[0], p[1])
		w.endCut(p[1], p[0])
	}
	for _, p := range f.Pairs {
		err = errors.Join(err, w.Net.Mend(p[0], p[1]))
	}
	return err
}

// Apart is that a replica and others cannot reach each other, and everybody else
// reaches all of them.
type Apart struct {
	One    *fleet.Replica
	Others []*fleet.Replica
}

func (f Apart) String() string { return f.One.String() + " cut from " + names(f.Others) }

// Touches implements [Fault].
func (f Apart) Touches() []string { return append(touches(f.Others), f.One.String()) }

// Begin implements [Fault]. Clients reach all of them, so that nothing in the
// timeline changes.
func (f Apart) Begin(w *World) error { return f.with(w, (*network.Host).CutFrom) }

// End implements [Fault].
func (f Apart) End(w *World) error { return f.with(w, (*network.Host).MendWith) }

func (f Apart) with(w *World, do func(*network.Host, ...*network.Host) error) error {
	one, err := w.host(f.One)
	if err != nil {
		return err
	}
	for _, r := range f.Others {
		other, e := w.host(r)
		if err = errors.Join(err, e); e == nil {
			err = errors.Join(err, do(one, other))
		}
	}
	return err
}

// Weather is that links between regions are worse than usual. Change makes the
// bad link from the good one.
type Weather struct {
	Words  string
	Pairs  [][2]string
	Change func(*wan.Link)
	// Strains says that connections may fail by it: a server gives each five seconds
	// to prove who it is.
	Strains bool
	before  map[[2]string]wan.Link
}

// Lossy is that a share of all packets between all regions is lost.
func Lossy(share float64, regions ...string) *Weather {
	return &Weather{Words: fmt.Sprintf("%.0f %% of packets lost", 100*share), Pairs: pairs(regions), Strains: true, Change: func(l *wan.Link) { l.Loss = share }}
}

// Slow is that two regions have so many bytes a second for each other.
func Slow(a, b string, rate int) *Weather {
	return &Weather{Words: fmt.Sprintf("%d kB a second", rate/1000), Pairs: [][2]string{{a, b}, {b, a}}, Strains: true, Change: func(l *wan.Link) { l.Rate = rate }}
}

// pairs are all ordered ones.
func pairs(regions []string) [][2]string {
	var all [][2]string
	for _, a := range regions {
		for _, b := range regions {
			if a != b {
				all = append(all, [2]string{a, b})
			}
		}
	}
	return all
}

func (f *Weather) String() string { return f.Words + " (" + strings.Join(f.Touches(), ", ") + ")" }

// Touches implements [Fault].
func (f *Weather) Touches() []string {
	all := Cut{f.Pairs}.Touches()
	slices.Sort(all)
	return slices.Compact(all)
}

// Begin implements [Fault]. The other end can still be reached: only connections
// may fail.
func (f *Weather) Begin(w *World) error {
	f.before = map[[2]string]wan.Link{}
	var err error
	for _, p := range f.Pairs {
		if f.Strains {
			w.Strain.BeginCut(p[0], p[1])
		}
		l, e := w.Net.Link(p[0], p[1])
		f.before[p] = l
		f.Change(&l)
		err = errors.Join(err, e, w.Net.Set(p[0], p[1], l))
	}
	return err
}

// End implements [Fault].
func (f *Weather) End(w *World) error {
	var err error
	for p, l := range f.before {
		err = errors.Join(err, w.Net.Set(p[0], p[1], l))
		if f.Strains {
			w.Strain.EndCut(p[0], p[1])
		}
	}
	return err
}
