package dns

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Question types and response codes are counted under these names.
var (
	typeNames  = [...]string{"other", "A", "AAAA", "SRV", "TXT", "SOA", "NS", "ANY"}
	rcodeNames = [...]string{"NOERROR", "FORMERR", "NXDOMAIN", "NOTIMP", "REFUSED", "BADVERS", "BADCOOKIE"}
	// latencyBounds are in nanoseconds.
	latencyBounds = [...]float64{500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7}
)

// Of sampleEvery answers one is timed, and the first sampleEvery of each turn all
// are, so that there is something to see where there is little traffic.
const sampleEvery = 64

// stats are the counters of one reader. Readers share none, so that counting
// costs no cache line between them; scraping adds them up.
type stats struct {
	queries   [len(typeNames)][len(rcodeNames)]atomic.Uint64
	truncated atomic.Uint64
	dropped   atomic.Uint64
	limited   atomic.Uint64
	latency   [len(latencyBounds) + 1]atomic.Uint64
	timed     atomic.Uint64 // nanoseconds
	// For [Server.Tally]: answers for services that name nothing, and how many regions
	// beside their first the others name.
	unnamed, further, failed, explicit atomic.Uint64
	durations                          [len(Histogram{})]atomic.Uint64
	named                              counters
	_                                  [64]byte
}

func (s *stats) count(qtype uint16, rcode int, truncated bool) {
	s.queries[typeIndex(qtype)][rcodeIndex(rcode)].Add(1)
	if truncated {
		s.truncated.Add(1)
	}
}

func (s *stats) time(d time.Duration) {
	i := 0
	for i < len(latencyBounds) && float64(d) > latencyBounds[i] {
		i++
	}
	s.latency[i].Add(1)
	s.timed.Add(uint64(max(0, d)))
	s.durations[bucketOf(d)].Add(1)
}

func typeIndex(t uint16) int {
	switch t {
	case typeA:
		return 1
	case typeAAAA:
		return 2
	case typeSRV:
		return 3
	case typeTXT:
		return 4
	case typeSOA:
		return 5
	case typeNS:
		return 6
	case typeANY:
		return 7
	}
	return 0
}

func rcodeIndex(r int) int {
	switch r {
	case rcodeFormat:
		return 1
	case rcodeName:
		return 2
	case rcodeNotImp:
		return 3
	case rcodeRefused:
		return 4
	case rcodeBadVers:
		return 5
	case rcodeBadCookie:
		return 6
	}
	return 0
}

// collector shows a server's counters to Prometheus.
type collector struct {
	s                                           *Server
	queries, truncated, dropped, limited        *prometheus.Desc
	latency, services, tables, conns, turnedOff *prometheus.Desc
}

func newCollector(s *Server) *collector {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("federator_dns_"+name, help, labels, nil)
	}
	return &collector{
		s:         s,
		queries:   d("queries_total", "Questions answered, by question type and response code.", "type", "rcode"),
		truncated: d("truncated_total", "Answers cut short with the TC bit."),
		dropped:   d("dropped_total", "Packets that deserved no answer: too short, or answers themselves."),
		limited:   d("limited_total", "Questions over the rate of their client network."),
		latency:   d("answer_seconds", "Time to make an answer, of a sample."),
		services:  d("prepared_services", "Services with prepared answers."),
		tables:    d("prepared_tables", "Prepared weight tables, over all services and client localities."),
		conns:     d("tcp_connections", "Open TCP connections."),
		turnedOff: d("tcp_refused_total", "TCP connections closed at once for there being too many."),
	}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.queries, c.truncated, c.dropped, c.limited, c.latency, c.services, c.tables, c.conns, c.turnedOff} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	all := *c.s.stats.Load()
	c.collectQueries(all, ch)
	sum := func(d *prometheus.Desc, of func(*stats) *atomic.Uint64) {
		var n uint64
		for _, s := range all {
			n += of(s).Load()
		}
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	sum(c.truncated, func(s *stats) *atomic.Uint64 { return &s.truncated })
	sum(c.dropped, func(s *stats) *atomic.Uint64 { return &s.dropped })
	sum(c.limited, func(s *stats) *atomic.Uint64 { return &s.limited })
	c.collectLatency(all, ch)
	gauge := func(d *prometheus.Desc, n int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
	}
	gauge(c.services, c.s.index.count.Load())
	gauge(c.tables, maxTables-c.s.tables.left.Load())
	gauge(c.conns, c.s.conns.open.Load())
	ch <- prometheus.MustNewConstMetric(c.turnedOff, prometheus.CounterValue, float64(c.s.conns.refused.Load()))
}

func (c *collector) collectQueries(all []*stats, ch chan<- prometheus.Metric) {
	for i, qtype := range typeNames {
		for j, rcode := range rcodeNames {
			var n uint64
			for _, s := range all {
				n += s.queries[i][j].Load()
			}
			if n > 0 {
				ch <- prometheus.MustNewConstMetric(c.queries, prometheus.CounterValue, float64(n), qtype, rcode)
			}
		}
	}
}

func (c *collector) collectLatency(all []*stats, ch chan<- prometheus.Metric) {
	buckets := map[float64]uint64{}
	var count, nanos uint64
	for i := range len(latencyBounds) + 1 {
		for _, s := range all {
			count += s.latency[i].Load()
		}
		if i < len(latencyBounds) {
			buckets[latencyBounds[i]/1e9] = count
		}
	}
	for _, s := range all {
		nanos += s.timed.Load()
	}
	ch <- prometheus.MustNewConstHistogram(c.latency, count, float64(nanos)/1e9, buckets)
}
