package operator

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

const (
	// maxAnswers is how many addresses DNS puts into one answer.
	maxAnswers = 8
	// maxHosts bounds how many names of single endpoints are listed per service.
	maxHosts = 32
)

// dnsAnswers lists the addresses that DNS answers with, the most likely first.
// A known client gets one locality, drawn by share, and up to 8 addresses there;
// a shared resolver up to 8 over all localities; a headless service is answered
// with all that can serve, the nearest first.
func dnsAnswers(res locality.Resolution, headless, known bool) []string {
	type answer struct {
		address  string
		priority int
		share    uint32 // of its locality
		weight   uint32
	}
	var all []answer
	for i := range res.Priorities {
		for j := range res.Priorities[i].Localities {
			l := &res.Priorities[i].Localities[j]
			from := len(all)
			for k := range l.Endpoints {
				if e := &l.Endpoints[k]; e.Weight > 0 && (headless || l.Weight > 0) {
					all = append(all, answer{e.Address.String(), i, l.Weight, e.Weight})
				}
			}
			if known && !headless { // what one answer holds
				slices.SortStableFunc(all[from:], func(a, b answer) int { return cmp.Compare(b.weight, a.weight) })
				all = all[:min(len(all), from+maxAnswers)]
			}
		}
	}
	slices.SortStableFunc(all, func(a, b answer) int {
		if headless {
			return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(b.share, a.share), cmp.Compare(b.weight, a.weight))
		}
		return cmp.Or(cmp.Compare(b.share, a.share), cmp.Compare(b.weight, a.weight))
	})
	var out []string
	for _, a := range all {
		if !slices.Contains(out, a.address) {
			out = append(out, a.address)
		}
	}
	if !known && !headless {
		return shared(res, out)
	}
	return out
}

// shared keeps the addresses of one answer to a resolver that many share.
func shared(res locality.Resolution, order []string) []string {
	picked := map[string]bool{}
	for _, e := range locality.Apportion(res, maxAnswers, 0) {
		picked[e.Address.String()] = true
	}
	return slices.DeleteFunc(order, func(a string) bool { return !picked[a] })
}

// dnsNames lists the names under which DNS serves a service; see package dns.
func dnsNames(s *catalog.Service, zone string) []string {
	base := s.Name.Name + "." + s.Name.Namespace + ".svc."
	out := []string{base + zone}
	srv := func(suffix string) {
		for _, p := range s.Ports {
			if p.Name != "" {
				out = append(out, "_"+p.Name+"._"+strings.ToLower(string(p.Protocol))+"."+suffix)
			}
		}
	}
	srv(base + zone)
	if s.Headless {
		out = append(out, hostNames(s, base+zone)...)
	}
	regions := map[string]bool{}
	for _, b := range s.Backends {
		regions[b.Region] = true
	}
	for _, region := range slices.Sorted(maps.Keys(regions)) {
		pinned := base + region + ".region." + zone
		out = append(out, pinned)
		srv(pinned)
	}
	return out
}

// hostNames are the names of a headless service's usable endpoints.
func hostNames(s *catalog.Service, suffix string) []string {
	var out []string
	for _, b := range s.Backends {
		for i := range b.Set.Endpoints {
			e := &b.Set.Endpoints[i]
			if answers(b.Health[i]) && len(out) < maxHosts {
				out = append(out, cmp.Or(e.Hostname, addressLabel(e))+"."+b.Set.Cluster+"."+suffix)
			}
		}
	}
	return out
}

// addressLabel writes an address as a DNS label.
func addressLabel(e *catalog.Endpoint) string {
	label := strings.NewReplacer(".", "-", ":", "-").Replace(e.Address.String())
	if strings.HasPrefix(label, "-") {
		label = "0" + label
	}
	if strings.HasSuffix(label, "-") {
		label += "0"
	}
	return label
}
