package intents

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// meters count what a registrar does.
type meters struct {
	statuses, records *prometheus.CounterVec
	standing          prometheus.Collector
}

func newMeters(r *Registrar) *meters {
	return &meters{
		statuses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "federator_kube_intent_statuses_total", Help: "Writes of the status of ResolutionPolicies and Drills to the API server, by kind and result.",
		}, []string{"kind", "result"}),
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "federator_kube_intent_records_total", Help: "Writes of ResolutionPolicies and Drills to the federation, by kind and result.",
		}, []string{"kind", "result"}),
		standing: standings{r, prometheus.NewDesc("federator_kube_resolution_policies", "ResolutionPolicies of the cluster by the reason of their condition Ready; none on replicas that do not write.", []string{"reason"}, nil)},
	}
}

func (m *meters) register(reg prometheus.Registerer) error {
	var errs []error
	for _, c := range []prometheus.Collector{m.statuses, m.records, m.standing} {
		errs = append(errs, reg.Register(c))
	}
	return errors.Join(errs...)
}

func (m *meters) wrote(kind string, err error)    { m.statuses.WithLabelValues(kind, result(err)).Inc() }
func (m *meters) recorded(kind string, err error) { m.records.WithLabelValues(kind, result(err)).Inc() }

func result(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}

// standings counts the policies by what has become of them.
type standings struct {
	r    *Registrar
	desc *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (s standings) Describe(out chan<- *prometheus.Desc) { out <- s.desc }

// Collect implements [prometheus.Collector].
func (s standings) Collect(out chan<- prometheus.Metric) {
	counts := s.r.standing.Load()
	if counts == nil {
		return
	}
	for reason, n := range *counts {
		out <- prometheus.MustNewConstMetric(s.desc, prometheus.GaugeValue, float64(n), reason)
	}
}
