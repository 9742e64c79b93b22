package exports

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what the source counts.
type metrics struct {
	endpoints prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, v *verdicts) (*metrics, error) {
	m := &metrics{endpoints: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "federator_kube_export_endpoints", Help: "Endpoints that the ServiceExports of this cluster select.",
	})}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.endpoints), reg.Register(&exportsCollector{v, prometheus.NewDesc(
		"federator_kube_exports", "ServiceExports of this cluster by the reason of their condition Valid.", []string{"reason"}, nil)}))
}

// exportsCollector counts the exports when it is asked.
type exportsCollector struct {
	verdicts *verdicts
	desc     *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (c *exportsCollector) Describe(out chan<- *prometheus.Desc) { out <- c.desc }

// Collect implements [prometheus.Collector].
func (c *exportsCollector) Collect(out chan<- prometheus.Metric) {
	for reason, n := range c.verdicts.counts() {
		out <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), reason)
	}
}
