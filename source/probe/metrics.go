package probe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	targets  prometheus.Gauge
	probes   *prometheus.CounterVec
	duration prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		targets: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "federator_probe_targets", Help: "Endpoints that this replica probes.",
		}),
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "federator_probe_results_total", Help: "Probes by kind of check and result (ok, failed).",
		}, []string{"kind", "result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "federator_probe_duration_seconds", Help: "How long probes took.",
			Buckets: []float64{.001, .005, .025, .1, .5, 1, 2.5, 10},
		}),
	}
	if r != nil {
		r.MustRegister(m.targets, m.probes, m.duration)
	}
	return m
}

func (m *metrics) observe(r result) {
	outcome := "ok"
	if r.err != nil {
		outcome = "failed"
	}
	m.probes.WithLabelValues(string(r.target.Check.Kind), outcome).Inc()
	m.duration.Observe(time.Since(r.started).Seconds())
}
