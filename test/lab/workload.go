package lab

import (
	"fmt"
	"slices"
	"strings"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/checker"
	"github.com/federator/federator/test/lab/network"
)

// Workload is an endpoint on a host of its own, whose health and life are the
// lab's to turn.
type Workload struct {
	*fleet.Endpoint
	Region string
	host   *network.Host
	sick   bool // it says so, or is frozen
}

func (w *World) newWorkload(region string, n int) *Workload {
	w.Helper()
	h, err := w.Net.Host(region, fmt.Sprintf("workload-%d", n))
	if err != nil {
		w.Fatal(err)
	}
	return &Workload{Endpoint: w.EndpointAt(h.Address(), h.Listen), Region: region, host: h}
}

// String returns "the workload 10.1.0.2 of west".
func (l *Workload) String() string { return "the workload " + l.Address + " of " + l.Region }

// Workloads are those of a region, or all if it is "".
func (w *World) Workloads(region string) []*Workload {
	return slices.DeleteFunc(slices.Clone(w.workers), func(l *Workload) bool { return region != "" && l.Region != region })
}

// everywhere is the service that every region has.
const everywhere = "shop/everywhere"

// without is the service that every region has but one: from there the others
// have to serve.
func without(region string) string { return "shop/not-" + region }

// services are those of a region.
func (w *World) services(region string) []string {
	all := []string{everywhere}
	for _, other := range w.regions {
		if other != region {
			all = append(all, without(other))
		}
	}
	return all
}

// servicesFile is what a region's agents read. A workload that falls ill is found
// so by the second failed check, 0.3 to 1.3 s later.
func (w *World) servicesFile(region string) string {
	var b strings.Builder
	b.WriteString("services:\n")
	for _, service := range w.services(region) {
		fmt.Fprintf(&b, "  - name: %s\n    ports: [{name: http, port: %d}]\n", service, fleet.EndpointPort)
		b.WriteString("    check: {http: {path: /}, interval: 300ms, timeout: 500ms, healthyThreshold: 1, unhealthyThreshold: 2}\n    endpoints:\n")
		for _, l := range w.Workloads(region) {
			fmt.Fprintf(&b, "      - {address: %s}\n", l.Address)
		}
	}
	return b.String()
}

// endpoints are all that the names which probers ask for may be answered with.
func (w *World) endpoints() []checker.Endpoint {
	var all []checker.Endpoint
	for _, region := range w.Regions() {
		for _, service := range w.services(region) {
			for _, l := range w.Workloads(region) {
				all = append(all, checker.Endpoint{Name: fleet.ServiceName(service), Address: l.Address, Region: region})
			}
		}
	}
	return all
}

// truth is what every replica has to see.
func (w *World) truth() checker.Truth {
	t := checker.Truth{Services: map[string]map[string]map[string]string{}}
	for _, region := range w.Regions() {
		for _, service := range w.services(region) {
			if t.Services[service] == nil {
				t.Services[service] = map[string]map[string]string{}
			}
			t.Services[service][region] = map[string]string{}
			for _, l := range w.Workloads(region) {
				health := "healthy"
				if l.sick {
					health = "unhealthy"
				}
				t.Services[service][region][l.Address] = health
			}
		}
	}
	return t
}
