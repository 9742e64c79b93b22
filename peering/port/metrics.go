package port

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	open    *prometheus.GaugeVec
	refused *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "federator_peering_connections",
			Help: "Connections accepted on the mTLS port and open now, by ALPN protocol.",
		}, []string{"protocol"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "federator_peering_refused_connections_total",
			Help: "Connections to the mTLS port refused, by reason: connections or handshakes (too many), handshake (failed), unserved.",
		}, []string{"reason"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.open, m.refused} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
