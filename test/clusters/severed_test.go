//go:build linux

package clusters

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/kube/imports"
)

func TestCallersLeaveARegionThatIsCutOffWhichServesItsOwn(t *testing.T) {
	f := needWorld(t)
	s := newShop(t, f, "severed")
	west, central, lost := f.cluster("us-west"), f.cluster("eu-central"), f.cluster("asia-east")
	s.open(central, "checkout", 1)
	s.open(lost, "checkout", 1)
	s.prefer(west, "checkout", lost, central)
	whole := map[string]string{"us-west": "asia-east", "eu-central": "eu-central", "asia-east": "asia-east"}
	s.answered("checkout", whole)
	ok(t, f.quiet(t.Context())) // every region sees the others, which it has to lose
	gone, alone := west.told(t, "asia-east", "LinkLost", "RegionOut"), lost.told(t, "", "RegionIsolated")

	t.Cleanup(func() { ok(t, f.world.Heal()) })
	ok(t, f.world.Cut(lost.real, west.real))
	ok(t, f.world.Cut(lost.real, central.real))
	gone("that the region is lost")
	alone("that no other region answers")
	s.answered("checkout", map[string]string{"us-west": "eu-central", "eu-central": "eu-central", "asia-east": "asia-east"})

	t.Log("the pods of the region come and go as before")
	s.scale(lost, "checkout", 0)
	s.unanswered(lost, "checkout")
	s.scale(lost, "checkout", 1)
	s.answered("checkout", map[string]string{"us-west": "eu-central", "eu-central": "eu-central", "asia-east": "asia-east"})

	back, together := west.told(t, "asia-east", "LinkRestored"), lost.told(t, "", "RegionConnected")
	ok(t, f.world.Heal())
	back("that the region is back")
	together("that other regions answer")
	s.answered("checkout", whole)
	f.allKnow(t, lost, replicas)
	ok(t, f.quiet(t.Context()))
}

// prefer has users of a cluster send callers elsewhere in an order of clusters, and waits
// until that is in force.
func (s *shop) prefer(c *cluster, service string, order ...*cluster) {
	s.Helper()
	var names []string
	for _, o := range order {
		names = append(names, o.name)
	}
	s.apply(c, fmt.Sprintf(`{apiVersion: federator.dev/v1alpha1, kind: ResolutionPolicy, metadata: {name: order}, spec: {service: %s, regionOrder: [%s]}}`, service, strings.Join(names, ", ")))
	s.until(c, "the policy to be in force", func(ctx context.Context) error {
		return s.holds(ctx, c, "resolutionpolicies", "order", "Ready")
	})
}

// told returns a function that waits until the users of a cluster are told, by an Event of
// one of some reasons on the Lease, more than they have been told by now.
func (c *cluster) told(t *testing.T, region string, reasons ...string) (wait func(what string)) {
	t.Helper()
	before, err := c.notices(t.Context(), region, reasons)
	ok(t, err)
	return func(what string) {
		t.Helper()
		eventually(t, 2*time.Minute, c.name+" to be told "+what, func(ctx context.Context) error {
			now, err := c.notices(ctx, region, reasons)
			if err == nil && now <= before {
				err = fmt.Errorf("expected more than %d Events %q, found %d", before, reasons, now)
			}
			return err
		})
	}
}

// notices are how often the users of a cluster were told about a region.
func (c *cluster) notices(ctx context.Context, region string, reasons []string) (times int32, err error) {
	events, err := c.Core.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Lease,involvedObject.name=" + imports.LeaseName})
	if err != nil {
		return 0, err
	}
	for _, e := range events.Items {
		if slices.Contains(reasons, e.Reason) && strings.Contains(e.Message, region) {
			times += max(e.Count, 1)
		}
	}
	return times, nil
}

// unanswered waits until the callers of a cluster, which can reach no other, are answered
// by nobody.
func (s *shop) unanswered(c *cluster, service string) {
	s.Helper()
	url := "http://" + s.address(c, service)
	eventually(s.T, time.Minute, "callers of "+c.name+" to be answered by nobody", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if found, err := c.fetch(ctx, url); err == nil {
			return fmt.Errorf("found %s", found)
		}
		return nil
	})
}
