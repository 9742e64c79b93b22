package imports

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/federator/federator/federation/catalog"
)

// meters are the metrics of a writer.
type meters struct {
	writes *prometheus.CounterVec
	queue  []prometheus.Collector
	rest   []prometheus.Collector
}

func newMeters(w *Writer) *meters {
	m := &meters{
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "federator_kube_import_writes_total", Help: "Writes to the API server, by kind of object, verb and result.",
		}, []string{"kind", "verb", "result"}),
	}
	for u, name := range [...]string{"dead", "flipped", "rest"} {
		m.queue = append(m.queue, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "federator_kube_import_queue_services", Help: "Services that wait to be written, by urgency.",
			ConstLabels: prometheus.Labels{"urgency": name},
		}, func() float64 {
			if t := w.leading.Load(); t != nil {
				return float64(t.queue.depth()[u])
			}
			return 0
		}))
	}
	m.rest = []prometheus.Collector{
		gauge("federator_kube_import_writer", "1 while this replica writes the imports of its cluster.", func() float64 {
			return float64(btoi(w.Leading()))
		}),
		gauge("federator_kube_import_unanswered_seconds", "For how long the API server of the own cluster has not answered; 0 if it does.", func() float64 {
			if since := w.StaleSince(); !since.IsZero() {
				return time.Since(since).Seconds()
			}
			return 0
		}),
		gauge("federator_kube_imports", "Services that are imported; 0 on replicas that do not write.", func() float64 { return w.books.sum().imports }),
		gauge("federator_kube_import_foreign_objects", "Objects that are in the way of imports and not ours.", func() float64 { return w.books.sum().foreign }),
		gauge("federator_kube_import_contested_services", "Services of which something else keeps changing objects back, so that they are written less often.", func() float64 { return w.books.sum().contested }),
		gauge("federator_kube_import_behind_services", "Services left alone because their objects were planned from more than this replica knows.", func() float64 { return w.books.sum().behind }),
		gauge("federator_kube_import_share_error_ratio", "The largest part of an import's traffic that goes elsewhere than wanted, because shares of endpoints only approximate shares of traffic.", func() float64 { return w.books.sum().worst }),
	}
	return m
}

func gauge(name, help string, value func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
}

func (m *meters) all() []prometheus.Collector {
	return slices.Concat([]prometheus.Collector{m.writes}, m.queue, m.rest)
}

func (m *meters) wrote(w *Write, err error) {
	result := "ok"
	switch {
	case err == nil:
	case raced(err):
		result = "raced"
	case unanswered(err):
		result = "unanswered"
	default:
		result = "refused"
	}
	m.writes.WithLabelValues(kindOfObject(w.Object), w.Verb.String(), result).Inc()
}

// books holds what is worth counting of the latest plan of every service.
type books struct {
	mu       sync.Mutex
	services map[catalog.ServiceName]entry
}

type entry struct {
	imported bool
	err      uint64
	behind   string
	since    time.Time // it has been behind; set by enter
	// lists
	foreign, contested string
}

type totals struct{ imports, foreign, contested, behind, worst float64 }

// enter notes a plan that was made now, and returns the entry before it.
func (b *books) enter(name catalog.ServiceName, e entry, now time.Time) entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.services[name]
	switch {
	case e.behind == "":
	case old.behind != "":
		e.since = old.since
	default:
		e.since = now
	}
	if e == (entry{}) {
		delete(b.services, name)
		return old
	}
	if b.services == nil {
		b.services = map[catalog.ServiceName]entry{}
	}
	b.services[name] = e
	return old
}

func (b *books) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.services = nil
}

func (b *books) sum() (t totals) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.services {
		t.imports += float64(btoi(e.imported))
		t.behind += float64(btoi(e.behind != ""))
		t.worst = max(t.worst, float64(e.err)/unit)
		t.foreign += float64(len(separated(e.foreign)))
		t.contested += float64(btoi(e.contested != ""))
	}
	return t
}

// note keeps the books, and says once what stands in the way of a service.
func (w *Writer) note(name catalog.ServiceName, p *Plan) {
	e := entry{imported: p.Imported, err: p.Err, behind: p.Behind, foreign: joined(p.Foreign), contested: joined(p.Contested)}
	old := w.books.enter(name, e, time.Now())
	if e.foreign != "" && e.foreign != old.foreign {
		w.cfg.Logger.Warn("an object that is not ours is in the way of an import and is left alone", "service", name, "objects", e.foreign)
		for _, object := range p.Foreign {
			w.events.foreign(name, object)
		}
	}
	if e.contested != "" && old.contested == "" {
		w.cfg.Logger.Warn("something keeps changing objects of an import back, so they are written less often", "service", name, "objects", e.contested)
		for _, object := range p.Contested {
			w.events.contested(name, object)
		}
	}
	if e.behind != "" && old.behind == "" {
		w.cfg.Logger.Info("the objects of an import know more than this replica and are left alone until it has caught up", "service", name, "cluster", e.behind)
	}
}

const listSeparator = ", " // no name of an object has it

func joined(objects []string) string { return strings.Join(objects, listSeparator) }

func separated(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, listSeparator)
}
