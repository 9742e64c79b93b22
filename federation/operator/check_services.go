package operator

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// checkSources reports sources that cannot be read, and clusters whose health
// nobody looks after.
func (v *view) checkSources() []problem {
	var out []problem
	for i := range v.clusters {
		c := &v.clusters[i]
		if r := v.region(c.region); r != nil && r.removed() {
			continue
		}
		subject := "cluster " + c.Name + " of " + c.region
		if c.SourceError != "" {
			out = append(out, problem{severe, "source", subject, "a source that can be read", c.SourceError + "; the last good state stays published, marked stale",
				"mend the services file, or the way to the Kubernetes API server; it is read again by itself", c.StaleSince})
		}
		if c.HealthOwner == "" && c.endpoints > 0 {
			out = append(out, problem{severity: warning, code: "unowned-health", subject: subject, expected: "a replica that checks its endpoints",
				found: "none: no replica of the cluster is alive", action: "start a replica of this cluster, or join one with --cluster " + c.Name})
		}
	}
	return out
}

// checkServices reports conflicts, and services that serve nobody.
func (v *view) checkServices() []problem {
	var out []problem
	for _, s := range v.services {
		for _, conflict := range s.Conflicts {
			out = append(out, problem{severity: warning, code: "service-conflict", subject: "service " + s.Name.String(),
				expected: "the same properties in every cluster", found: conflict.Message, action: "export it alike everywhere; until then the oldest export wins (KEP-1645)"})
		}
		out = append(out, v.checkEndpoints(s)...)
	}
	return out
}

func (v *view) checkEndpoints(s *catalog.Service) []problem {
	var out []problem
	counts := map[catalog.Health]int{}
	total := 0
	for _, b := range s.Backends {
		total += len(b.Health)
		for _, h := range b.Health {
			counts[h]++
		}
		if len(b.Health) == 0 {
			out = append(out, problem{severity: warning, code: "no-endpoints", subject: "service " + s.Name.String() + " in cluster " + b.Set.Cluster,
				expected: "at least one endpoint", found: "it is exported without any", action: "give it endpoints, or do not export it there"})
		}
	}
	switch {
	case total == 0:
	case counts[catalog.Healthy]+counts[catalog.Degraded] > 0:
		out = append(out, deadRegions(s)...)
	case counts[catalog.Unknown] == total:
		out = append(out, problem{severity: warning, code: "health-unknown", subject: "service " + s.Name.String(), expected: "checked endpoints",
			found: fmt.Sprintf("none of %d was decided on yet", total), action: "wait for a few intervals of its check; if it stays, does a replica of its cluster run?"})
	default:
		out = append(out, problem{severity: severe, code: "no-healthy-endpoint", subject: "service " + s.Name.String(), expected: "a healthy endpoint somewhere",
			found:  fmt.Sprintf("none of %d; clients are sent to all of them (panic), unless the policy turns that off", total),
			action: "look at the service, and at its health check: federator endpoints " + s.Name.String()})
	}
	return out
}

// deadRegions reports the regions that have endpoints of a service and none that
// serves, while others do.
func deadRegions(s *catalog.Service) []problem {
	total, serving := map[string]int{}, map[string]int{}
	for _, b := range s.Backends {
		for _, h := range b.Health {
			total[b.Region]++
			if h == catalog.Healthy || h == catalog.Degraded {
				serving[b.Region]++
			}
		}
	}
	var out []problem
	for _, region := range slices.Sorted(maps.Keys(total)) {
		if serving[region] == 0 {
			out = append(out, problem{severity: warning, code: "no-healthy-endpoint-in-region", subject: "service " + s.Name.String() + " in region " + region,
				expected: "a healthy endpoint there", found: fmt.Sprintf("none of %d; its clients go to the other regions", total[region]),
				action: fmt.Sprintf("look at it: federator endpoints %s --region %s", s.Name, region)})
		}
	}
	return out
}

// checkPolicies reports policies that name what nobody knows.
func (v *view) checkPolicies() []problem {
	var known []string
	for _, r := range v.regions {
		if !r.removed() {
			known = append(known, r.name)
		}
	}
	exported := map[string]bool{catalog.DefaultPolicy: true}
	for _, s := range v.services {
		exported[s.Name.String()] = true
	}
	var out []problem
	for _, o := range living(v.objects, catalog.KindPolicy) {
		var p catalog.Policy
		if err := json.Unmarshal(o.Spec, &p); err != nil {
			out = append(out, problem{severity: severe, code: "policy-unreadable", subject: "policy " + o.Name, expected: "a policy that this build understands", found: err.Error(),
				action: "upgrade this replica, or write the policy anew"})
			continue
		}
		if strays := strayRegions(p, known); len(strays) > 0 {
			out = append(out, problem{severity: warning, code: "policy-region", subject: "policy " + o.Name, expected: "regions of the federation",
				found: "unknown: " + strings.Join(strays, ", "), action: "mend the policy, unless the region is about to join"})
		}
		if !exported[o.Name] {
			out = append(out, problem{severity: info, code: "policy-unused", subject: "policy " + o.Name, expected: "a service of that name",
				found: "no cluster exports one", action: "delete the policy if the service will not come back"})
		}
	}
	for i := range v.policies {
		p := &v.policies[i]
		subject := fmt.Sprintf("ResolutionPolicy %s/%s of cluster %s", p.Namespace, p.Name, p.Cluster)
		switch strays := strayRegions(p.Policy, known); {
		case p.Standing == catalog.StandsRefused:
			out = append(out, problem{severity: warning, code: "policy-refused", subject: subject, expected: "a policy of a cluster that may export " + p.About().String(),
				found:  "refused by " + rulesNamed(p.Rules) + "; it changes nothing",
				action: "delete it there, or allow the cluster in one of the rules that name the service: federator export-rule get " + p.Rules[0]})
		case p.Standing == catalog.StandsInForce && len(strays) > 0:
			out = append(out, problem{severity: warning, code: "policy-region", subject: subject, expected: "regions of the federation",
				found: "unknown: " + strings.Join(strays, ", "), action: "mend the policy, unless the region is about to join"})
		}
	}
	return out
}

// checkEvacuations reports what is out of the answers now, and what should be
// and is not.
func (v *view) checkEvacuations() []problem {
	var out []problem
	for _, e := range v.evacuations() {
		subject := "region " + e.GetRegion()
		out = append(out, problem{info, "evacuated", subject, "in the answers",
			fmt.Sprintf("evacuated for another %s by %s", about(e.GetRemaining().AsDuration()), e.GetMeta().GetActor()),
			"it ends by itself; to end it now: federator evacuate " + e.GetRegion() + " --stop", e.GetStarted().AsTime()})
		if e.GetIgnored() != "" {
			out = append(out, problem{severity: warning, code: "evacuation-ignored", subject: subject, expected: "evacuated in full",
				found: "the evacuation is ignored " + e.GetIgnored(), action: "let another region serve these, or mend it there; where a policy's safety rule holds it up and it must be, evacuate with --force"})
		}
	}
	return out
}

// lostLately is how long a lost write is a warning; then it is history.
const lostLately = 24 * time.Hour

// checkWrites reports writes that did not win or were not taken.
func (v *view) checkWrites() []problem {
	var out []problem
	for key, lost := range v.conflicts {
		for _, o := range lost {
			p := problem{info, "write-lost", key.String(), "one writer at a time",
				fmt.Sprintf("the version of region %s by %s was overwritten by one made at the same time", o.Object.Version.Region, o.Object.Actor),
				"look whether what is in force is what you want, and apply it again if not", o.At}
			if v.now.Sub(o.At) < lostLately {
				p.severity = warning
			}
			out = append(out, p)
		}
	}
	for _, o := range v.refused {
		p := problem{severity: severe, code: "write-refused", subject: o.String(), expected: "a version that can be adopted", found: "region " + o.Region + " wrote one that cannot: " + o.Reason,
			action: "write the object again in another region"}
		if o.Skew != 0 {
			p.expected, p.action = "clocks within 5 minutes of each other", "set the clocks of region "+o.Region+" by NTP, and write the object again there"
		}
		out = append(out, p)
	}
	return out
}

func (v *view) checkDNS() []problem {
	if v.dns {
		return nil
	}
	return []problem{{severity: info, code: "dns-off", subject: v.me(), expected: "answers DNS", found: "no DNS address is configured",
		action: "nothing if that is meant; else give --dns HOST:PORT to the agent"}}
}
