//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// writesPerSecond is what all of a cluster's agents together may write.
const writesPerSecond = 200

// endpointBytes bounds what an agent may take for an endpoint of a crowd, of resident
// memory: several times the 5 to 9 KiB that are measured, so that only a leak, or
// objects that are kept twice over, exceeds it.
const endpointBytes = 40 << 10

// slow reports whether what takes minutes is wanted, too.
func slow() bool { return os.Getenv("FEDERATOR_E2E_SLOW") == "1" }

// One cluster exports thousands of services and another imports them: what it takes,
// and that nothing is wrong or lost. Agents and API servers share one machine.
func TestThousandsOfServicesAreImportedByAnotherCluster(t *testing.T) {
	c, turned, long := crowd{services: 300, unready: map[string]bool{}}, 60, 3*time.Second
	if slow() {
		c.services, turned, long = 3000, 300, 15*time.Second
	} else {
		t.Log("the short form; FEDERATOR_E2E_SLOW=1 takes ten times as many")
	}
	t.Logf("%d services with %d endpoints each, %d endpoints turned", c.services, perService, turned)
	s := enact(t, map[string]int{"us-west": 1, "eu-central": 1}, "us-west", "eu-central")
	regions := []string{"us-west", "eu-central"}
	mirrors, empty := map[string]*mirror{}, map[string]usage{}
	for _, region := range regions {
		mirrors[region] = mirrorOf(t, s.world.Cluster(region))
		empty[region] = s.calm(s.Replicas(region)[0], long)
	}
	begun := time.Now()
	must(t, c.export(s.world.Cluster("us-west")))
	created := time.Since(begun)
	took := map[string]time.Duration{}
	for _, region := range slices.Backward(regions) {
		s.Until(8*time.Minute, region+" to import all", func() error { return mirrors[region].has(c, "us-west-1") })
		took[region] = time.Since(begun)
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "region\tall created\timported\tRSS empty\tsteady\tpeak\ta endpoint\tCPU\trequests\ta second\tmost writes a second\t")
	for _, region := range regions {
		s.bill(w, c, region, begun, created, took[region], empty[region], s.calm(s.Replicas(region)[0], long))
	}
	must(t, w.Flush())
	t.Logf("\n%s", table.String())
	s.turnSome(t, mirrors["eu-central"], c, turned, long)
	last := s.used()
	for _, region := range regions {
		t.Logf("%s takes %d B an endpoint in the end", region, s.light(c, region, empty[region], last[region]))
		s.Until(30*time.Second, region+" to have it all in the end", func() error { return mirrors[region].has(c, "us-west-1") })
		if most, at := fastest(s.asked(region, time.Time{})); most > writesPerSecond {
			t.Errorf("%s: found %d writes within a second of %v", region, most, at)
		}
	}
}

// bill writes a line about what an agent took to import the crowd.
func (s *stage) bill(w *tabwriter.Writer, c crowd, region string, begun time.Time, created, took time.Duration, empty, now usage) {
	s.Helper()
	all := s.asked(region, begun)
	during := slices.IndexFunc(all, func(a asking) bool { return a.at.After(begun.Add(took)) })
	if during < 0 {
		during = len(all)
	}
	most, _ := fastest(all)
	fmt.Fprintf(w, "%s\t%v\t%v\t%d MiB\t%d MiB\t%d MiB\t%d B\t%.1f s\t%d\t%.0f\t%d\t\n", region, created.Round(100*time.Millisecond), took.Round(100*time.Millisecond),
		empty.resident>>20, now.resident>>20, now.peak>>20, s.light(c, region, empty, now),
		(now.cpu - empty.cpu).Seconds(), during, float64(during)/took.Seconds(), most)
	s.Logf("%s asked its API server: %s", region, counted(all, true))
}

// light returns what an agent takes for each endpoint of the crowd, and fails the test
// if that is too much.
func (s *stage) light(c crowd, region string, empty, now usage) (each int64) {
	s.Helper()
	n := int64(c.services * perService)
	if each = (now.resident - empty.resident) / n; each > endpointBytes {
		s.Errorf("%s: expected the agent to take at most %d B of memory for each of %d endpoints, found %d B: %d MiB without any, %d MiB with all", region, endpointBytes, n, each, empty.resident>>20, now.resident>>20)
	}
	return each
}

// turnSome turns one endpoint after another, each of another service, and waits until
// the importing cluster lists it as not ready.
func (s *stage) turnSome(t *testing.T, eu *mirror, c crowd, n int, long time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	west := s.world.Cluster("us-west").Clients.Core.DiscoveryV1().EndpointSlices(shop)
	seen, err := eu.changes()
	must(t, err)
	begun, before := time.Now(), s.used()
	var took []time.Duration
	for k := range n {
		i, j := k*7919%c.services, k%perService // 7919 is a prime
		c.unready[c.address(i, j)] = true
		at := time.Now()
		_, err := west.Update(ctx, c.slice(i), metav1.UpdateOptions{})
		must(t, err)
		if !turned(seen, c.address(i, j), false, lostFlip) {
			t.Fatalf("turn %d, of %s, did not arrive within %v", k+1, c.address(i, j), lostFlip)
		}
		took = append(took, time.Since(at))
	}
	lasted := time.Since(begun)
	t.Logf("readiness flip -> EndpointSlice of the import, endpoints one after another within %v: %s", lasted.Round(time.Millisecond), timely(t, took))
	for _, r := range s.Replicas("") {
		s.calm(r, long)
	}
	after := s.used()
	for _, r := range s.Replicas("") {
		all := slices.DeleteFunc(s.asked(r.Region, begun), func(a asking) bool { return !a.writes() || a.resource == "leases" })
		t.Logf("%s wrote for %d flips: %s; %v of CPU a flip", r.Region, n, counted(all, true),
			((after[r.Region].cpu - before[r.Region].cpu) / time.Duration(n)).Round(100*time.Microsecond))
	}
}

// used is what the agent of each region takes now.
func (s *stage) used() map[string]usage {
	s.Helper()
	out := map[string]usage{}
	for _, r := range s.Replicas("") {
		u, err := usageOf(r)
		s.must(err)
		out[r.Region] = u
	}
	return out
}
