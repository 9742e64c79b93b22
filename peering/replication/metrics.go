package replication

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// serverMetrics counts what is served.
type serverMetrics struct {
	snapshots, deltas, refused *prometheus.CounterVec
}

func newServerMetrics(reg prometheus.Registerer, streams func() float64) (*serverMetrics, error) {
	m := &serverMetrics{
		snapshots: counters("served_snapshots_total", "Complete snapshots sent to other replicas."),
		deltas:    counters("served_deltas_total", "Changes sent to other replicas."),
		refused:   counters("unpublished_records_total", "Records left out because other regions would refuse them."),
	}
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: metricName("served_streams"), Help: "Replication streams being served.",
	}, streams)
	return m, register(reg, m.snapshots, m.deltas, m.refused, gauge)
}

// importMetrics counts what is received.
type importMetrics struct {
	snapshots, deltas, resyncs, bytes *prometheus.CounterVec
}

func newImportMetrics(reg prometheus.Registerer, links prometheus.Collector) (*importMetrics, error) {
	m := &importMetrics{
		snapshots: counters("received_snapshots_total", "Complete snapshots of a region taken over."),
		deltas:    counters("received_deltas_total", "Changes of a region applied."),
		resyncs:   counters("resyncs_total", "Complete snapshots asked for after a gap."),
		bytes:     counters("received_bytes_total", "Bytes of replication events received."),
	}
	return m, register(reg, m.snapshots, m.deltas, m.resyncs, m.bytes, links)
}

func metricName(what string) string {
	return prometheus.BuildFQName("federator", "peering", "replication_"+what)
}

func counters(what, help string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricName(what), Help: help}, []string{"region"})
}

func register(reg prometheus.Registerer, all ...prometheus.Collector) error {
	if reg == nil {
		return nil
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// linkCollector reads the state of the links at the time of the scrape.
type linkCollector struct {
	status                 func() []LinkStatus
	now                    func() time.Time
	freshness, lag, synced *prometheus.Desc
}

func newLinkCollector(status func() []LinkStatus, now func() time.Time) *linkCollector {
	desc := func(what, help string) *prometheus.Desc {
		return prometheus.NewDesc(metricName(what), help, []string{"region"}, nil)
	}
	return &linkCollector{
		status:    status,
		now:       now,
		freshness: desc("link_freshness_seconds", "How long ago the region was last heard from; -1 if never."),
		lag:       desc("link_lag_versions", "Announced changes of the region that are not held yet."),
		synced:    desc("link_synced", "1 while all that the region announced is held and it was heard from just now."),
	}
}

// Describe implements prometheus.Collector.
func (c *linkCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.freshness
	ch <- c.lag
	ch <- c.synced
}

// Collect implements prometheus.Collector.
func (c *linkCollector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.status() {
		fresh, synced := -1.0, 0.0
		if !s.LastEvent.IsZero() {
			fresh = c.now().Sub(s.LastEvent).Seconds()
		}
		if s.Synced {
			synced = 1
		}
		ch <- prometheus.MustNewConstMetric(c.freshness, prometheus.GaugeValue, fresh, s.Region)
		ch <- prometheus.MustNewConstMetric(c.lag, prometheus.GaugeValue, float64(s.Lag()), s.Region)
		ch <- prometheus.MustNewConstMetric(c.synced, prometheus.GaugeValue, synced, s.Region)
	}
}
