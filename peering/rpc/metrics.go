package rpc

import "github.com/prometheus/client_golang/prometheus"

type metrics struct{ calls *prometheus.CounterVec }

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{calls: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "federator_peering_calls_total",
		Help: "gRPC calls answered, by full method name and status code.",
	}, []string{"method", "code"})}
	if r == nil {
		return m, nil
	}
	return m, r.Register(m.calls)
}
