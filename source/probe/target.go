package probe

import (
	"cmp"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// Key identifies a probed endpoint.
type Key struct {
	Set      catalog.SetKey
	Endpoint string // its ID
}

// Target is one endpoint and how to probe it. Equal targets are the same target.
type Target struct {
	Key
	// Address is what is dialed: IP:port.
	Address string
	Check   catalog.Check
}

// Targets returns the targets of a set: none without a check, else one for
// every endpoint.
func Targets(set *catalog.EndpointSet) []Target {
	if set.Check == nil {
		return nil
	}
	port, ok := checkedPort(set)
	if !ok {
		return nil
	}
	targets := make([]Target, 0, len(set.Endpoints))
	for i := range set.Endpoints {
		targets = append(targets, target(set, &set.Endpoints[i], port, *set.Check))
	}
	return targets
}

func target(set *catalog.EndpointSet, e *catalog.Endpoint, port catalog.Port, check catalog.Check) Target {
	number := strconv.Itoa(int(e.PortNumber(port)))
	return Target{
		Key:     Key{Set: set.SetKey, Endpoint: e.ID},
		Address: net.JoinHostPort(e.Address.String(), number),
		Check:   bounded(check),
	}
}

// bounded keeps the check of another region, or of a source that is less strict
// than package file, from probing without pause or without end.
func bounded(c catalog.Check) catalog.Check {
	c.Path = cmp.Or(c.Path, "/")
	c.Interval = min(max(c.Interval, 100*time.Millisecond), 5*time.Minute)
	c.Timeout = min(max(c.Timeout, 10*time.Millisecond), time.Minute)
	c.HealthyThreshold = min(max(c.HealthyThreshold, 1), 10)
	c.UnhealthyThreshold = min(max(c.UnhealthyThreshold, 1), 10)
	return c
}

// checkedPort is the port that the set's check names, or the first TCP port.
func checkedPort(set *catalog.EndpointSet) (catalog.Port, bool) {
	i := slices.IndexFunc(set.Ports, func(p catalog.Port) bool {
		if set.Check != nil && set.Check.Port != "" {
			return p.Name == set.Check.Port
		}
		return p.Protocol == catalog.TCP
	})
	if i < 0 {
		return catalog.Port{}, false
	}
	return set.Ports[i], true
}

// connect stands in for the check of a sampled service that has none.
var connect = catalog.Check{
	Kind: catalog.CheckTCP, Interval: time.Second, Timeout: time.Second, HealthyThreshold: 1, UnhealthyThreshold: 1,
}

// Sample picks up to n endpoints of one cluster that together tell whether the
// cluster lives: from as many services and zones as possible, but first those
// that a check last found to live, then those of which no check has said anything,
// which may never have been there, and at last those that were found dead. It is
// deterministic for a given r.
func Sample(backends []catalog.Backend, n int, r *rand.Rand) []Target {
	candidates := candidates(backends)
	r.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
	services, zones := map[catalog.SetKey]int{}, map[string]int{}
	cost := func(c candidate) int {
		return c.doubt<<30 + services[c.Set]<<10 + zones[c.zone]
	}
	var picked []Target
	for len(picked) < n && len(candidates) > 0 {
		best := 0
		for i := range candidates {
			if cost(candidates[i]) < cost(candidates[best]) {
				best = i
			}
		}
		c := candidates[best]
		services[c.Set]++
		zones[c.zone]++
		picked = append(picked, c.Target)
		candidates = slices.Delete(candidates, best, best+1)
	}
	return picked
}

// candidate is an endpoint that may be sampled.
type candidate struct {
	Target
	zone  string
	doubt int // that it lives: see doubtOf
}

// doubtOf tells how little is to be expected of an endpoint's answer: 0 for one
// that a check found to live, 2 for one found dead, 1 if nobody knows.
func doubtOf(b *catalog.Backend, i int) int {
	switch {
	case i < len(b.Health) && b.Health[i] == catalog.Unhealthy:
		return 2
	case b.Set.Check != nil && i < len(b.Health) && b.Health[i] != catalog.Unknown:
		return 0
	}
	return 1
}

// candidates returns the endpoints that can be probed, in an order of their own.
func candidates(backends []catalog.Backend) []candidate {
	var all []candidate
	for _, b := range backends {
		port, ok := checkedPort(b.Set)
		if !ok {
			continue
		}
		check := connect
		if b.Set.Check != nil {
			check = *b.Set.Check
		}
		for i := range b.Set.Endpoints {
			e := &b.Set.Endpoints[i]
			all = append(all, candidate{target(b.Set, e, port, check), e.Zone, doubtOf(&b, i)})
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.Set.Cluster, b.Set.Cluster), a.Set.Service.Compare(b.Set.Service), cmp.Compare(a.Endpoint, b.Endpoint))
	})
	return all
}
