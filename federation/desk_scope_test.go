package federation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/source"
)

// moody is a ledger that may refuse to write.
type moody struct {
	*sourceLedger
	refuses bool
}

func (m *moody) PutSets(ctx context.Context, cluster, origin string, term uint64, c source.Changes) error {
	if m.refuses {
		return errors.New("no leader")
	}
	return m.sourceLedger.PutSets(ctx, cluster, origin, term, c)
}

// theWorld is a desk of two sources of which each says something at times, and what
// a test does to it.
type theWorld struct {
	*desk
	ledger *moody
	watch  *catalog.Watch
	known  bool // every replica knows of affinities and properties
}

func newWorld(t *testing.T) *theWorld {
	d, l, _ := sourceDesk(t, "file", "kube")
	w := &theWorld{desk: d, ledger: &moody{sourceLedger: l}, watch: d.catalog.Watch()}
	d.ledger, d.understands = w.ledger, func(int) bool { return w.known }
	return w
}

// follow does what run does when something changed.
func (w *theWorld) follow(ctx context.Context) {
	if in := w.concerned(w.watch.Take()); !in.empty() {
		w.compare(ctx, in)
	}
	w.reconcile(ctx)
}

// genWord is what a source says: the sets of some services, now and then the same
// values as before, or that it cannot be read.
func genWord(t *rapid.T, f *feed) source.Update {
	if rapid.IntRange(0, 5).Draw(t, "away") == 0 {
		return source.Update{Err: errors.New("away"), StaleSince: time.Unix(5, 0)}
	}
	var u source.Update
	for _, name := range []string{"a", "b", "c", "d"} {
		switch kind := rapid.IntRange(0, 4).Draw(t, name); kind {
		case 0: // gone
		case 1:
			if f.good != nil {
				if at, ok := source.Find(f.good.Sets, setOf("", name).Service); ok {
					u.Sets = append(u.Sets, f.good.Sets[at])
				}
			}
		default:
			set := setOf(f.origin, name, rapid.SliceOfN(rapid.SampledFrom([]catalog.Health{catalog.Healthy, catalog.Unhealthy}), 0, 2).Draw(t, "health")...)
			if set.AffinitySeconds = uint32(kind - 2); rapid.Bool().Draw(t, "check") {
				set.Check = &catalog.Check{Kind: catalog.CheckTCP, Interval: time.Second, Timeout: time.Second, HealthyThreshold: 1, UnhealthyThreshold: 1}
			}
			u.Sets = append(u.Sets, &set)
		}
	}
	return u
}

// happen does one thing to the world.
func (w *theWorld) happen(t *rapid.T, ctx context.Context) {
	switch rapid.IntRange(0, 6).Draw(t, "event") {
	case 0, 1, 2:
		f := rapid.SampledFrom(w.feeds).Draw(t, "source")
		w.take(f, genWord(t, f))
	case 3: // by hand, in a backup, or a write of another that this replica sees now
		set := setOf(rapid.SampledFrom([]string{"file", "kube", "api"}).Draw(t, "origin"), rapid.SampledFrom([]string{"a", "b", "e"}).Draw(t, "service"), catalog.Healthy)
		c := source.Changes{Upserts: []catalog.EndpointSet{set}}
		if rapid.Bool().Draw(t, "deleted") {
			c = source.Changes{Deletes: []catalog.SetKey{set.SetKey}}
		}
		_ = w.ledger.sourceLedger.PutSets(ctx, "c", set.Source, 0, c)
	case 4:
		w.ledger.refuses = !w.ledger.refuses
	case 5:
		w.known = !w.known
	case 6: // another replica speaks for a while
		w.owns = !w.owns
		if w.owns {
			w.compare(ctx, everything())
		}
	}
}

func (w *theWorld) sets() map[string]catalog.EndpointSet {
	sets := map[string]catalog.EndpointSet{}
	for _, b := range w.own() {
		sets[b.Set.Service.String()] = *b.Set
	}
	return sets
}

// What changed is all that a desk compares; whatever happens it must come to what
// comparing everything comes to, with nothing missing, left over or forgotten.
func TestComparingWhatChangedComesToWhatComparingEverythingDoes(t *testing.T) {
	ctx := t.Context()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		defer w.watch.Close()
		for range rapid.IntRange(1, 30).Draw(r, "events") {
			w.happen(r, ctx)
			if rapid.Bool().Draw(r, "follow") {
				w.follow(ctx)
			}
		}
		if w.ledger.refuses = false; !w.owns {
			w.owns = true
			w.compare(ctx, everything())
		}
		for range 4 { // a name that changes its source takes a write of each
			w.follow(ctx)
		}
		if !w.backlog.empty() {
			r.Fatalf("%v is still to be compared", w.backlog)
		}
		got, aim, writes, refused := w.sets(), maps.Clone(w.probing), len(w.ledger.puts), []string{w.feeds[0].refusal(), w.feeds[1].refusal()}
		w.compare(ctx, everything())
		if diff := cmp.Diff(w.sets(), got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || len(w.ledger.puts) != writes {
			r.Fatalf("comparing everything found more to write (-then +before):\n%s", diff)
		}
		if !maps.Equal(aim, w.probing) {
			r.Fatalf("probed %v, expected %v", aim, w.probing)
		}
		for i, f := range w.feeds {
			if f.latest != nil && f.latest.Err == nil && f.refusal() != refused[i] {
				r.Fatalf("source %s was said to be refused for %q, expected %q", f.origin, refused[i], f.refusal())
			}
		}
	})
}

func TestAChangeOfOneServiceLooksAtNoOther(t *testing.T) {
	d, _, _ := sourceDesk(t, "kube")
	sets := saying(setOf("kube", "a", catalog.Healthy), setOf("kube", "b", catalog.Healthy), setOf("kube", "c", catalog.Healthy)).Sets
	d.take(d.feeds[0], source.Update{Sets: sets})
	if !d.backlog.all {
		t.Error("the first word of a source is not compared as a whole")
	}
	d.reconcile(t.Context())
	for name, c := range map[string]struct {
		next []*catalog.EndpointSet
		want string
	}{
		"one is another":       {[]*catalog.EndpointSet{sets[0], saying(setOf("kube", "b", catalog.Healthy, catalog.Healthy)).Sets[0], sets[2]}, "b"},
		"one is gone":          {sets[1:], "a"},
		"one is gone, the end": {sets[:2], "c"},
		"one turned":           {append(saying(setOf("kube", "a", catalog.Unhealthy)).Sets, sets[1:]...), "a"},
		"none":                 {slices.Clone(sets), ""},
		"equal values":         {saying(setOf("kube", "a", catalog.Healthy), setOf("kube", "b", catalog.Healthy), setOf("kube", "c", catalog.Healthy)).Sets, ""},
	} {
		d.feeds[0].good, d.feeds[0].latest = &source.Update{Sets: sets}, &source.Update{Sets: sets}
		n := d.feeds[0].note(&source.Update{Sets: c.next})
		var got string
		for key := range n.in.names {
			got += key.Name
		}
		if n.in.all || got != c.want {
			t.Errorf("%s: looks at %q (everything: %v), expected %q", name, got, n.in.all, c.want)
		}
	}
}

func TestAWriteThatFailedIsTriedAgainAndNothingElse(t *testing.T) {
	d, l, _ := sourceDesk(t, "kube")
	m := &moody{sourceLedger: l}
	d.ledger = m
	a, b := setOf("kube", "a", catalog.Healthy), setOf("kube", "b", catalog.Healthy)
	d.take(d.feeds[0], saying(a, b))
	d.reconcile(t.Context())
	m.refuses = true
	next := setOf("kube", "b", catalog.Healthy, catalog.Healthy)
	d.take(d.feeds[0], source.Update{Sets: []*catalog.EndpointSet{d.feeds[0].good.Sets[0], &next}})
	d.reconcile(t.Context())
	d.reconcile(t.Context())
	if _, ok := d.backlog.names[b.Service]; !ok || d.backlog.all || len(d.backlog.names) != 1 {
		t.Errorf("%v is to be compared again, expected b", d.backlog)
	}
	m.refuses = false
	d.reconcile(t.Context())
	if len(d.set(b.Service).Endpoints) != 2 || !d.backlog.empty() {
		t.Errorf("b has %d endpoints, and %v is to be compared again", len(d.set(b.Service).Endpoints), d.backlog)
	}
}

// What one change of membership costs the owner of a cluster with 3,000 services and
// 30,000 endpoints, from the word of the source to the catalog, and back; and what it
// costs to compare everything each time instead.
func BenchmarkAChangeOfOneServiceOf3000(b *testing.B) {
	for name, whole := range map[string]bool{"what changed": false, "everything": true} {
		b.Run(name, func(b *testing.B) {
			d, l, _ := sourceDesk(b, "kube")
			var sets []*catalog.EndpointSet
			for i := range 3000 {
				set := setOf("kube", fmt.Sprintf("s%04d", i), slices.Repeat([]catalog.Health{catalog.Healthy}, 10)...)
				sets = append(sets, &set)
			}
			d.take(d.feeds[0], source.Update{Sets: sets})
			watch := d.catalog.Watch()
			defer watch.Close()
			d.compare(b.Context(), everything())
			watch.Take()
			d.compare(b.Context(), everything())
			short, long := sets[1500], setOf("kube", "s1500", slices.Repeat([]catalog.Health{catalog.Healthy}, 11)...)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				next := slices.Clone(sets)
				if next[1500] = short; i%2 == 0 {
					next[1500] = &long
				}
				d.take(d.feeds[0], source.Update{Sets: next})
				if whole {
					d.owe(everything())
				}
				d.reconcile(b.Context())
				in := d.concerned(watch.Take())
				if whole {
					in = everything()
				}
				d.compare(b.Context(), in)
			}
			if n := len(l.puts); n < b.N {
				b.Fatalf("%d writes of %d changes", n, b.N)
			}
		})
	}
}
