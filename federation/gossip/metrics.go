package gossip

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Why something was dropped.
const (
	dropOversize      = "oversize"
	dropUndecodable   = "undecodable"
	dropUndecryptable = "undecryptable"
	dropOverflow      = "overflow"
	dropShut          = "cut-off" // by a drill
	dropRate          = "rate"
	dropUnknown       = "unknown" // an echo answer that nobody waits for
)

type metrics struct {
	echoes   *prometheus.CounterVec
	messages *prometheus.CounterVec
	dropped  *prometheus.CounterVec
	rtt      *prometheus.GaugeVec
	skew     *prometheus.GaugeVec
	silent   *prometheus.GaugeVec
	isolated prometheus.Gauge
	pauses   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, queued func() float64) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "federator_gossip_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "federator_gossip_" + name, Help: help}, labels)
	}
	m := &metrics{
		echoes:   counter("echoes_total", "Echoes to each region, by result: sent, answered, lost.", "region", "result"),
		messages: counter("messages_total", "Gossip messages, by direction (in, out) and kind.", "direction", "kind"),
		dropped:  counter("dropped_total", "Packets, messages and streams dropped, by reason.", "reason"),
		rtt:      gauge("rtt_seconds", "Smoothed round-trip time to each region.", "region"),
		skew:     gauge("clock_skew_seconds", "How far the clock furthest from ours in each region is ahead.", "region"),
		silent:   gauge("region_silent", "1 while this replica judges the region silent.", "region"),
		isolated: prometheus.NewGauge(prometheus.GaugeOpts{Name: "federator_gossip_isolated", Help: "1 while every other region is silent."}),
		pauses:   prometheus.NewCounter(prometheus.CounterOpts{Name: "federator_gossip_pauses_total", Help: "Times this replica stood still for longer than a verdict allows."}),
	}
	pending := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "federator_gossip_pending_changes", Help: "Health changes waiting to be passed on.",
	}, queued)
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.echoes, m.messages, m.dropped, m.rtt, m.skew, m.silent, m.isolated, m.pauses, pending} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) drop(reason string) { m.dropped.WithLabelValues(reason).Inc() }

func (m *metrics) echo(region, result string) { m.echoes.WithLabelValues(region, result).Inc() }

func (m *metrics) message(direction, kind string) {
	m.messages.WithLabelValues(direction, kind).Inc()
}

func (m *metrics) reach(r Reach) {
	m.silent.Reset()
	for region, silent := range r.Silent {
		m.silent.WithLabelValues(region).Set(number(silent))
	}
	m.isolated.Set(number(r.Isolated))
}

func (m *metrics) setRTT(region string, rtt time.Duration) {
	m.rtt.WithLabelValues(region).Set(rtt.Seconds())
}

func (m *metrics) setSkew(region string, skew time.Duration) {
	m.skew.WithLabelValues(region).Set(skew.Seconds())
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
