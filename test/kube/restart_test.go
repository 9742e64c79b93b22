//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A replica alone in its cluster still has its Lease when it comes back after a crash,
// and so writes as soon as it may: before all that decides the plans is known, if it
// did not wait.
func TestAReplicaThatRestartsAndFindsAllAsItShouldBeWritesNothing(t *testing.T) {
	s := enact(t, map[string]int{"us-west": 1}, "us-west")
	core, ctx := s.world.Cluster("us-west").Clients.Core, context.Background()
	nodes, err := core.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	s.must(err)
	for _, n := range nodes.Items { // which the controllers of the cluster write, too
		zone := fmt.Sprintf(`{"metadata":{"labels":{%q:"a"}}}`, corev1.LabelTopologyZone)
		_, err = core.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType, []byte(zone), metav1.PatchOptions{})
		s.must(err)
	}
	_, err = core.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "in-b", Labels: map[string]string{corev1.LabelTopologyZone: "b"},
	}}, metav1.CreateOptions{})
	s.must(err)
	s.export("us-west", "checkout", "10.0.0.1", "10.0.0.2")
	zoned := slice("checkout", "10.0.0.1", "10.0.0.2")
	zoned.Endpoints[0].Zone, zoned.Endpoints[1].Zone = new("a"), new("b")
	_, err = core.DiscoveryV1().EndpointSlices(shop).Update(ctx, zoned, metav1.UpdateOptions{})
	s.must(err)
	s.imported("us-west", "checkout", "us-west-1")
	hinted := func() error {
		list, err := core.DiscoveryV1().EndpointSlices(shop).List(ctx, metav1.ListOptions{LabelSelector: "federator.dev/import=checkout"})
		if err != nil || len(list.Items) != 1 || len(list.Items[0].Endpoints) != 2 {
			return fmt.Errorf("found %v, %v", list, err)
		}
		for _, e := range list.Items[0].Endpoints {
			if e.Hints == nil {
				return fmt.Errorf("found no hints in %+v", e)
			}
		}
		return nil
	}
	s.Until(soon, "zone hints", hinted)
	before, since := s.versions("us-west", "checkout"), time.Now()
	s.Until(late, "nothing to be written any more: what is new may ramp", func() error {
		if now := s.versions("us-west", "checkout"); !maps.Equal(before, now) {
			before, since = now, time.Now()
		}
		if time.Since(since) < 5*time.Second {
			return fmt.Errorf("found it written %v ago", time.Since(since))
		}
		return nil
	})
	for try := 1; ; try++ {
		s.comesBack(t, "us-west", fmt.Sprint("proof-", try), try)
		after := s.versions("us-west", "checkout")
		if maps.Equal(before, after) {
			return
		}
		// On a machine that stands still for long a node or an endpoint may seem away.
		t.Logf("expected everything as it was, %v, found %v", before, after)
		if try == 2 {
			t.Fatal("it was written at two restarts of two")
		}
		before = after
	}
}

// comesBack kills the replica of a region, and waits until it has looked at its imports,
// of which there are so many, and writes: that of a service that is exported to see it.
func (s *stage) comesBack(t *testing.T, region, proof string, imports int) {
	r := s.Replicas(region)[0]
	r.Kill()
	r.Start("--config", s.config[region])
	r.Ready()
	begun := time.Now()
	s.Until(late, "the replica to have looked at everything", func() error {
		if n, err := metric(r, "federator_kube_imports"); err != nil || n != float64(imports) {
			return fmt.Errorf("it counts %v imports, %v", n, err)
		}
		return nil
	})
	t.Logf("it writes again %v after it was ready", time.Since(begun).Round(time.Millisecond))
	time.Sleep(5 * time.Second) // longer than zones take to be counted again
	s.export(region, proof, "10.0.0.3")
	s.imported(region, proof, region+"-1") // it writes what is to be written
}

// versions are the resource versions of an import and of what belongs to it.
func (s *stage) versions(region, name string) map[string]string {
	s.Helper()
	clients, ctx := s.world.Cluster(region).Clients, context.Background()
	out := map[string]string{}
	i, err := clients.MCS.MulticlusterV1beta1().ServiceImports(shop).Get(ctx, name, metav1.GetOptions{})
	s.must(err)
	out["import"] = i.ResourceVersion
	own := metav1.ListOptions{LabelSelector: "federator.dev/import=" + name}
	services, err := clients.Core.CoreV1().Services(shop).List(ctx, own)
	s.must(err)
	for _, o := range services.Items {
		out["Service "+o.Name] = o.ResourceVersion
	}
	slices, err := clients.Core.DiscoveryV1().EndpointSlices(shop).List(ctx, own)
	s.must(err)
	for _, o := range slices.Items {
		out["EndpointSlice "+o.Name] = o.ResourceVersion
	}
	return out
}
