package verdicts

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

// Counts are counters of agents.
type Counts struct {
	Sent, Answered float64 // echoes to other regions
	Pauses         float64 // times an agent stood still for more than 250 ms
	CPU            float64 // seconds
}

func (c Counts) plus(d Counts) Counts {
	return Counts{c.Sent + d.Sent, c.Answered + d.Answered, c.Pauses + d.Pauses, c.CPU + d.CPU}
}

func (c Counts) minus(d Counts) Counts {
	return Counts{c.Sent - d.Sent, c.Answered - d.Answered, c.Pauses - d.Pauses, c.CPU - d.CPU}
}

// scrape reads the counters of an agent of a region from its metrics.
func scrape(from fleet.Dialer, address, region string) (Counts, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: from.DialContext, DisableKeepAlives: true}}
	answer, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		return Counts{}, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return Counts{}, fmt.Errorf("/metrics says %s", answer.Status)
	}
	return readCounts(answer.Body, region)
}

// readCounts adds up the series of each counter, those of echoes without the ones
// to the own region.
func readCounts(metrics io.Reader, own string) (Counts, error) {
	var c Counts
	lines := bufio.NewScanner(metrics)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		series, text, ok := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		if !ok || err != nil {
			continue // a comment
		}
		switch name, labels, _ := strings.Cut(series, "{"); {
		case strings.Contains(labels, `region="`+own+`"`):
		case name == "federator_gossip_echoes_total" && strings.Contains(labels, `result="sent"`):
			c.Sent += value
		case name == "federator_gossip_echoes_total" && strings.Contains(labels, `result="answered"`):
			c.Answered += value
		case name == "federator_gossip_pauses_total":
			c.Pauses += value
		case name == "process_cpu_seconds_total":
			c.CPU += value
		}
	}
	return c, lines.Err()
}

// tally adds up counters that begin anew with each process.
type tally struct {
	sum  Counts
	last map[string]Counts
}

// add takes what an agent's counters say now. The first time they only say from
// where to count.
func (t *tally) add(agent string, now Counts) {
	before, known := t.last[agent]
	if t.last == nil {
		t.last = map[string]Counts{}
	}
	t.last[agent] = now
	switch {
	case !known:
	case now.Sent < before.Sent: // another process
		t.sum = t.sum.plus(now)
	default:
		t.sum = t.sum.plus(now.minus(before))
	}
}

// priority is how a process competes for the CPU: its niceness, or that it is of a
// realtime class, and the niceness of its session where the kernel shares the CPU
// between sessions. "" where the system does not say.
func priority(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 39 {
		return ""
	}
	if policy := fields[38]; policy == "1" || policy == "2" {
		return "realtime"
	}
	text := "nice " + fields[16]
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/autogroup", pid)); err == nil {
		_, session, _ := strings.Cut(strings.TrimSpace(string(b)), "nice ")
		text += ", its session " + session
	}
	return text
}

// load is the machine's load over the last minute, 0 where it does not say.
func load() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	value, _ := strconv.ParseFloat(first, 64)
	return value
}
