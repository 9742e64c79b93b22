//go:build linux

package kube_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

// usage is what an agent takes, by what the kernel says of its process.
type usage struct {
	resident, peak int64 // bytes
	cpu            time.Duration
}

// tick is the kernel's unit of CPU time, as programs see it.
const tick = 10 * time.Millisecond

func usageOf(r *fleet.Replica) (u usage, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.PID()))
	if err != nil {
		return u, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.PID()))
	if err != nil {
		return u, err
	}
	for what, of := range map[string]*int64{"VmRSS:": &u.resident, "VmHWM:": &u.peak} {
		_, rest, _ := strings.Cut(string(text), what)
		var kib int64
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			return u, fmt.Errorf("/proc/%d/status: %s %w", r.PID(), what, err)
		}
		*of = kib << 10
	}
	// After the name, in brackets: the 12th and 13th are ticks as user and in the kernel.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return u, fmt.Errorf("/proc/%d/stat: expected 13 fields after the name, found %q", r.PID(), rest)
	}
	for _, ticks := range fields[11:13] {
		n, err := strconv.ParseInt(ticks, 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/%d/stat: %w", r.PID(), err)
		}
		u.cpu += time.Duration(n) * tick
	}
	return u, nil
}

// calm waits until an agent has next to nothing to do any more and neither takes
// memory nor gives any back, each for so long, and returns what it takes then.
func (s *stage) calm(r *fleet.Replica, long time.Duration) usage {
	s.Helper()
	var since usage
	begun := time.Now()
	s.Until(5*time.Minute, r.String()+" to be calm", func() error {
		now, err := usageOf(r)
		if err != nil {
			return err
		}
		busy := now.cpu-since.cpu > long/10
		moved := max(now.resident, since.resident)-min(now.resident, since.resident) > now.resident/50
		if busy || moved {
			since, begun = now, time.Now()
			return fmt.Errorf("found %+v", now)
		}
		if time.Since(begun) < long {
			return fmt.Errorf("found it calm since %v", time.Since(begun))
		}
		since = now
		return nil
	})
	return since
}

// asking is one request of an agent in an audit log.
type asking struct {
	at             time.Time
	verb, resource string
	code           int
}

// writes reports whether it changes something.
func (a asking) writes() bool {
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, a.verb)
}

// asked are the requests that the agents of a cluster have made since then, in the
// order in which they came to the API server, however they were answered.
func (s *stage) asked(region string, since time.Time) []asking {
	s.Helper()
	text, err := os.ReadFile(s.world.Cluster(region).AuditLog())
	s.must(err)
	var out []asking
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // still being written
		}
		var one struct {
			Stage, Verb              string
			RequestReceivedTimestamp time.Time
			ResponseStatus           struct{ Code int }
			ObjectRef                struct{ Resource, Subresource string }
		}
		s.must(json.Unmarshal(line, &one))
		// A watch is told twice: when it begins, and when it ends.
		if one.Verb == "watch" && one.Stage != "ResponseStarted" || one.RequestReceivedTimestamp.Before(since) {
			continue
		}
		resource := strings.TrimSuffix(one.ObjectRef.Resource+"/"+one.ObjectRef.Subresource, "/")
		out = append(out, asking{one.RequestReceivedTimestamp, one.Verb, resource, one.ResponseStatus.Code})
	}
	slices.SortFunc(out, func(a, b asking) int { return a.at.Compare(b.at) })
	return out
}

// fastest is the most writes that came within any one second, and the first of them.
func fastest(all []asking) (most int, from time.Time) {
	var window []time.Time
	for _, a := range all {
		if !a.writes() {
			continue
		}
		window = append(window, a.at)
		for !window[0].After(a.at.Add(-time.Second)) {
			window = window[1:]
		}
		if len(window) > most {
			most, from = len(window), window[0]
		}
	}
	return most, from
}

// counted says how many requests there were of each verb, or of each verb and
// resource.
func counted(all []asking, resources bool) string {
	counts := map[string]int{}
	for _, a := range all {
		name := a.verb
		if resources {
			name += " " + a.resource
		}
		counts[name]++
	}
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return counts[b] - counts[a] })
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", counts[name], name)
	}
	return strings.Join(names, ", ")
}
