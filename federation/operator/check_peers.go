package operator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
)

// checkReach reports the regions that are not reachable from here.
func (v *view) checkReach() []problem {
	if v.cond.Isolated {
		return []problem{{severity: severe, code: "isolated", subject: v.us(), expected: "an answer from at least one other region",
			found:  "every other region is silent, so the fault is probably here; the last known state of the others serves, marked stale",
			action: "look at this region's network to the others: UDP to their gossip ports, TCP to their peer ports", since: v.latestSilence()}}
	}
	var out []problem
	for _, r := range v.regions {
		if r.own || r.removed() || r.reach == catalog.Reachable {
			continue
		}
		p := problem{severity: severe, code: "region-" + r.reach.String(), subject: "region " + r.name, expected: "its replicas answer echoes", found: v.note(r), since: r.since}
		p.action = "look at its replicas, and at the network to them (UDP gossip port)"
		switch r.reach {
		case catalog.Silent:
			p.severity = warning
		case catalog.Out:
			p.action += "; if it is gone for good: federator region remove " + r.name
		}
		out = append(out, p)
	}
	return out
}

func (v *view) latestSilence() (since time.Time) {
	for _, r := range v.regions {
		if !r.own && r.since.After(since) {
			since = r.since
		}
	}
	return since
}

// lagWorthSaying is how many changes a stream may be behind without being named.
const lagWorthSaying = 100

// checkStreams reports reachable regions whose data is not fresh.
func (v *view) checkStreams() []problem {
	var out []problem
	for _, r := range v.regions {
		if r.own || r.removed() || r.reach != catalog.Reachable || v.cond.Isolated {
			continue
		}
		p := problem{severity: warning, code: "stream-stale", subject: "region " + r.name, expected: "its changes within " + freshFor.String()}
		p.action = "look at TCP to its peer ports, and at the logs of both sides"
		if r.link != nil {
			p.found, p.since = r.link.Error, r.link.LastEvent
		}
		switch fresh := v.freshness(r); {
		case r.version == (catalog.Version{}):
			p.code, p.found = "region-unknown", strings.TrimSuffix("nothing of it has arrived here: "+p.found, ": ")
		case fresh != "fresh":
			p.found = strings.TrimPrefix(v.note(r)+": "+p.found, ": ")
		case r.link != nil && r.link.Lag() >= lagWorthSaying:
			p.code, p.found, p.since = "stream-lag", fmt.Sprintf("%d changes have yet to arrive", r.link.Lag()), time.Time{}
			p.action = "give it time; if it grows, look at the bandwidth between the regions"
		default:
			continue
		}
		out = append(out, p)
	}
	return out
}

// checkPeers reports dead replicas of other regions that answer as a whole.
func (v *view) checkPeers() []problem {
	var out []problem
	for i := range v.members {
		m := &v.members[i]
		r := v.region(m.Replica.Region)
		if m.Replica.Region == v.self.Region || m.state != "dead" || r == nil || r.reach != catalog.Reachable || v.cond.Isolated {
			continue
		}
		out = append(out, problem{warning, "replica-dead", "replica " + m.Replica.Region + "/" + m.Replica.Name, "an answer to echoes from here",
			"none, while others of its region answer", "look at it, and at UDP to " + m.GossipAddress, m.LastEvidence})
	}
	return out
}

// clockSlack is how far apart clocks may be without being named.
const clockSlack = time.Second

// checkClocks compares this replica's clock with everybody else's.
func (v *view) checkClocks() []problem {
	var out []problem
	peers := 0
	for i := range v.members {
		m := &v.members[i]
		if m.self || m.LastEvidence.IsZero() {
			continue
		}
		peers++
		if m.Skew.Abs() <= clockSlack {
			continue
		}
		p := problem{severity: warning, code: "clock-skew", subject: "replica " + m.Replica.Region + "/" + m.Replica.Name, since: time.Time{},
			expected: "clocks within " + clockSlack.String(), found: skewWords(m.Skew), action: "set its clock, or this replica's, by NTP"}
		if m.Skew.Abs() > state.MaxClockSkew {
			p.severity = severe
			p.expected = fmt.Sprintf("clocks within %s; above %s its writes are not adopted", clockSlack, state.MaxClockSkew)
		}
		out = append(out, p)
	}
	if len(out) > 1 && 2*len(out) > peers {
		for i := range out {
			out[i].action = fmt.Sprintf("set the clock of this replica (%s) by NTP: it differs from most of the others", v.self.Name)
		}
	}
	return out
}

func skewWords(skew time.Duration) string {
	if skew < 0 {
		return about(-skew).String() + " behind this replica's clock"
	}
	return about(skew).String() + " ahead of this replica's clock"
}

// checkBuilds reports replicas that could halt, and builds that differ.
func (v *view) checkBuilds() []problem {
	var out []problem
	builds := map[string][]string{}
	for i := range v.members {
		m := &v.members[i]
		name := m.Replica.Region + "/" + m.Replica.Name
		if m.Build != "" {
			builds[m.Build] = append(builds[m.Build], name)
		}
		if m.Replica.Region != v.self.Region {
			continue
		}
		if m.MinProtocol > v.about.Protocol || m.MaxProtocol < v.about.Protocol {
			out = append(out, problem{severity: severe, code: "protocol-range", subject: "replica " + m.Replica.Name,
				expected: fmt.Sprintf("it understands protocol %d, which is in force", v.about.Protocol),
				found:    fmt.Sprintf("it understands %d to %d", m.MinProtocol, m.MaxProtocol),
				action:   "run a build there that understands it"})
		} else if m.MaxProtocol < state.Protocol {
			out = append(out, problem{severity: info, code: "protocol-old", subject: "replica " + m.Replica.Name,
				expected: fmt.Sprintf("protocol %d", state.Protocol), found: fmt.Sprintf("it understands %d at most, which holds the region there", m.MaxProtocol),
				action: "upgrade it to finish the upgrade of the region"})
		}
	}
	return append(out, mixedBuilds(builds)...)
}

// mixedBuilds says which builds run where; during an upgrade that is as it must be.
func mixedBuilds(builds map[string][]string) []problem {
	if len(builds) < 2 {
		return nil
	}
	var words []string
	for build, names := range builds {
		slices.Sort(names)
		words = append(words, fmt.Sprintf("%s on %s", build, strings.Join(most(names, 3), ", ")))
	}
	slices.Sort(words)
	return []problem{{severity: info, code: "mixed-builds", subject: "the federation", expected: "one build, except during an upgrade",
		found: strings.Join(words, "; "), action: "finish the upgrade"}}
}
