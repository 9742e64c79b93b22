package state

import (
	"cmp"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures of the room; each is described where it is made.
type metrics struct {
	commands *prometheus.CounterVec
	all      []prometheus.Collector
	ours     []prometheus.Collector // registered by us
}

func newMetrics(n *Node) *metrics {
	m := &metrics{commands: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "federator_state_commands_total", Help: "Commands applied, by type and by refusal code (ok if accepted).",
	}, []string{"type", "code"})}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	m.all = []prometheus.Collector{
		m.commands,
		gauge("federator_state_leader", "1 if this replica leads the region's Raft.", func() float64 { return truth(n.IsLeader()) }),
		gauge("federator_state_halted", "1 if this replica halted at a command it does not understand.", func() float64 { return truth(n.machine.haltedErr() != nil) }),
		gauge("federator_state_applied_index", "Last log index applied.", func() float64 { return float64(n.raft.AppliedIndex()) }),
		gauge("federator_state_last_index", "Last log index on this replica's disk.", func() float64 { return float64(n.raft.LastIndex()) }),
		gauge("federator_state_export_seq", "Sequence number of the last exported change in this epoch.", func() float64 {
			var seq uint64
			n.Read(func(s *State) { seq = s.Version().Seq })
			return float64(seq)
		}),
		gauge("federator_state_disk_free_bytes", "Free space of the data directory's disk.", n.diskFree),
		gauge("federator_state_disk_troubles", "Kinds of disk write that failed in the last 30 s, or ever since.", func() float64 { return float64(len(n.troubles.list())) }),
	}
	return m
}

func (m *metrics) step(t Type, r Result) {
	m.commands.WithLabelValues(string(t), cmp.Or(r.Code, "ok")).Inc()
}

func (m *metrics) register(to prometheus.Registerer) error {
	if to == nil {
		return nil
	}
	for _, c := range m.all {
		if err := to.Register(c); err != nil {
			m.unregister(to)
			return fmt.Errorf("register metrics: %w", err)
		}
		m.ours = append(m.ours, c)
	}
	return nil
}

func (m *metrics) unregister(from prometheus.Registerer) {
	for _, c := range m.ours {
		from.Unregister(c)
	}
	m.ours = nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
