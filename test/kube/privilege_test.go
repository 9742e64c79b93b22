//go:build linux

package kube_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/kube/api/v1alpha1"
	"github.com/federator/federator/test/controlplane"
	"github.com/federator/federator/test/e2e/fleet"
)

// What agents need is taken away from an agent in us-west, what only pods need from
// pods in eu-central: every verb of the manifests, whatever they privilege.
func TestAnyRightThatIsMissingIsNamedInTheLogAndInCheck(t *testing.T) {
	s := enact(t, map[string]int{"us-west": 1}, "us-west", "eu-central")
	g := &grants{stage: s, region: "us-west", named: map[privilege]bool{}}
	g.ofAgents(t)
	g.ofPods(t)
	for _, one := range s.granted() {
		if !g.named[one] {
			t.Errorf("%s (%s) is granted, and nothing here shows that it is named where it is missing", one, one.by())
		}
	}
	t.Logf("%d grants", len(s.granted()))
}

func (g *grants) ofAgents(t *testing.T) {
	agent, west := g.Replicas("us-west")[0], g.world.Cluster("us-west")
	g.must(installOwn(t.Context(), west))
	made := []string{"service-create", "service-update", "service-delete", "slice-create", "slice-update", "slice-delete", "import-update", "import-status", "import-delete", "export-status", "flapping", "met"}
	for _, name := range made {
		g.export("us-west", name, "10.0.0.1")
	}
	for _, name := range made {
		g.imported("us-west", name, "us-west-1")
		g.lists(soon, "us-west", name, "us-west-1 10.0.0.1")
	}
	attested := g.attest(t, agent)
	restart := func() {
		agent.Stop()
		agent.Start("--config", g.config["us-west"])
		agent.Ready()
	}
	g.miss(agent, g.those(func(one privilege) bool { return !one.local() && one.verb == "list" }), restart)
	g.miss(agent, g.those(func(one privilege) bool { return !one.local() && one.verb == "watch" }), restart)
	g.writes(agent)

	from := size(agent)
	g.miss(agent, g.those(func(one privilege) bool {
		return !one.local() && slices.Contains([]string{"create", "update", "delete"}, one.verb)
	}), func() {
		g.needToWrite(west)
		attested()
	})
	for _, name := range []string{"service-create", "service-update", "service-delete", "slice-create", "slice-update", "fresh"} {
		g.imported("us-west", name, "us-west-1")
		g.lists(soon, "us-west", name, "us-west-1 10.0.0.1")
	}
	g.gone("us-west", "import-delete")
	text, err := os.ReadFile(agent.LogPath())
	g.must(err)
	if told, want := unwritable(string(text[from:])), map[string]int{"shop/nearest": 1, "shop/nowhere": 1}; !maps.Equal(told, want) {
		t.Errorf("expected each status that may not be written to be told of once, %v, found %v", want, told)
	}

	name := g.prepareMeeting(west)
	g.miss(agent, []privilege{{object: everywhereRole, verb: "get", resource: "endpointslices", group: "discovery.k8s.io"}}, func() {
		_, err := west.Clients.MCS.MulticlusterV1beta1().ServiceExports(shop).Create(t.Context(), exportObject("met"), metav1.CreateOptions{})
		g.must(err)
	})
	g.lists(soon, "us-west", "met", "us-west-1 10.0.0.1") // beside the slice that is not ours
	g.flap("NoEndpoints")
	g.flap("Endpoints", "10.0.0.1")
	g.miss(agent, []privilege{
		{object: everywhereRole, verb: "patch", resource: "serviceexports/status", group: "multicluster.x-k8s.io"}, {object: everywhereRole, verb: "patch", resource: "events"},
	}, g.needToPatch)
	g.must(west.Clients.Core.DiscoveryV1().EndpointSlices(shop).Delete(t.Context(), name, metav1.DeleteOptions{}))

	leases := func(verbs ...string) []privilege {
		return g.those(func(one privilege) bool { return one.resource == "leases" && slices.Contains(verbs, one.verb) })
	}
	g.writes(agent)
	g.miss(agent, leases("get", "update"), nil)
	g.miss(agent, leases("create"), func() {
		g.must(west.Clients.Core.CoordinationV1().Leases(namespace).Delete(t.Context(), "federator-imports", metav1.DeleteOptions{}))
	})
	g.Until(soon, "the agent to hold the Lease again", func() error { _, err := g.writer("us-west"); return err })
}

// writes waits until the agent writes. Its Lease may still name what it was before it was
// started anew, or have run out.
func (g *grants) writes(agent *fleet.Replica) {
	g.Helper()
	g.Until(late, "the agent to write", func() error {
		if writes, err := metric(agent, "federator_kube_import_writer"); err != nil || writes != 1 {
			return fmt.Errorf("found %v, %v", writes, err)
		}
		return nil
	})
}

// unwritable is how often a log says of each object, NAMESPACE/NAME, that its status may
// not be written, but for repetitions after another reason why it could not be.
func unwritable(log string) map[string]int {
	told, last := map[string]int{}, map[string]bool{}
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "the status of an object could not be written") {
			continue
		}
		_, rest, _ := strings.Cut(line, "object=")
		name, _, _ := strings.Cut(rest, " ")
		forbidden := strings.Contains(line, "forbidden")
		if forbidden && (told[name] == 0 || last[name]) {
			told[name]++
		}
		last[name] = forbidden
	}
	return told
}

// attest returns what has the agent review the token of a pod.
func (g *grants) attest(t *testing.T, agent *fleet.Replica) func() {
	t.Helper()
	c := g.world.Cluster("us-west")
	_, err := c.Clients.Core.CoreV1().ServiceAccounts(shop).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, metav1.CreateOptions{})
	g.must(err)
	s := &site{Cluster: c, t: t, world: g.world, fleet: g.Fleet, replica: agent}
	trust, token := s.trust(), s.ours(s.pod("web-0"))
	return func() {
		g.Until(soon, "the agent to say which grant the review of a token takes", func() error {
			err := s.ask(trust, token)
			if err == nil {
				t.Error("expected a token that nobody reviewed to prove nothing")
				return nil
			}
			if !strings.Contains(err.Error(), "create tokenreviews.authentication.k8s.io") {
				return err
			}
			return nil
		})
	}
}

// needToWrite spoils what the agent has written, and has it need to write more: each
// service needs one right of its own.
func (g *grants) needToWrite(c *controlplane.Cluster) {
	g.Helper()
	ctx, core := context.Background(), c.Clients.Core
	services, slices := core.CoreV1().Services(shop), core.DiscoveryV1().EndpointSlices(shop)
	imports := c.Clients.MCS.MulticlusterV1beta1().ServiceImports(shop)
	o := metav1.UpdateOptions{}

	g.export("us-west", "fresh", "10.0.0.1") // to be imported
	_, err := g.exports("us-west").Create(ctx, exportObject("nobody"), metav1.CreateOptions{})
	g.must(err) // to be told of, which is a patch, and with an Event
	g.must(services.Delete(ctx, g.derived(c, "service-create").Name, metav1.DeleteOptions{}))
	update := g.derived(c, "service-update")
	update.Spec.Ports[0].Port++
	_, err = services.Update(ctx, update, o)
	g.must(err)
	headless := g.derived(c, "service-delete")
	g.must(services.Delete(ctx, headless.Name, metav1.DeleteOptions{}))
	_, err = services.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: headless.Name, Labels: headless.Labels, Annotations: headless.Annotations, OwnerReferences: headless.OwnerReferences},
		Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: headless.Spec.Ports},
	}, metav1.CreateOptions{})
	g.must(err)
	g.must(slices.Delete(ctx, g.sliceOf(c, "slice-create").Name, metav1.DeleteOptions{}))
	changed := g.sliceOf(c, "slice-update")
	changed.Endpoints[0].Conditions.Ready = new(false)
	_, err = slices.Update(ctx, changed, o)
	g.must(err)
	g.serve("us-west", "slice-delete")
	spec, err := imports.Get(ctx, "import-update", metav1.GetOptions{})
	g.must(err)
	spec.Spec.Ports = spec.Spec.Ports[:0]
	_, err = imports.Update(ctx, spec, o)
	g.must(err)
	status, err := imports.Get(ctx, "import-status", metav1.GetOptions{})
	g.must(err)
	status.Status.Clusters = nil
	_, err = imports.UpdateStatus(ctx, status, o)
	g.must(err)
	g.must(g.exports("us-west").Delete(ctx, "import-delete", metav1.DeleteOptions{}))
	own := c.Clients.Federator.FederatorV1alpha1()
	_, err = own.ResolutionPolicies(shop).Create(ctx, &v1alpha1.ResolutionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "nearest"}, Spec: v1alpha1.ResolutionPolicySpec{Service: "fresh", RegionOrder: v1alpha1.Labels{"us-west"}},
	}, metav1.CreateOptions{})
	g.must(err)
	_, err = own.Drills(shop).Create(ctx, &v1alpha1.Drill{ObjectMeta: metav1.ObjectMeta{Name: "nowhere"}, Spec: v1alpha1.DrillSpec{
		Service: "fresh", Scope: v1alpha1.DrillScope{Region: "mars"}, Shape: v1alpha1.DrillShape{Hold: "1m"},
	}}, metav1.CreateOptions{})
	g.must(err)
}

// prepareMeeting puts a slice that is not the agent's in the place of one of its own,
// and returns its name.
func (g *grants) prepareMeeting(c *controlplane.Cluster) string {
	g.Helper()
	name := g.sliceOf(c, "met").Name
	g.must(g.exports("us-west").Delete(context.Background(), "met", metav1.DeleteOptions{}))
	g.gone("us-west", "met")
	_, err := c.Clients.Core.DiscoveryV1().EndpointSlices(shop).Create(context.Background(), &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: name}, AddressType: discoveryv1.AddressTypeIPv4,
	}, metav1.CreateOptions{})
	g.must(err)
	return name
}

// flap gives the service of that name other endpoints, and waits until its users are
// told.
func (g *grants) flap(reason string, addresses ...string) {
	g.Helper()
	g.serve("us-west", "flapping", addresses...)
	g.Until(soon, "an Event "+reason, func() error {
		list, err := g.world.Cluster("us-west").Clients.Core.CoreV1().Events(shop).List(context.Background(), metav1.ListOptions{FieldSelector: "involvedObject.name=flapping,reason=" + reason})
		if err == nil && len(list.Items) == 0 {
			err = errors.New("found none")
		}
		return err
	})
}

// needToPatch has the agent tell an export what has become of it, and count an Event
// up.
func (g *grants) needToPatch() {
	g.Helper()
	ctx := context.Background()
	status, err := g.exports("us-west").Get(ctx, "export-status", metav1.GetOptions{})
	g.must(err)
	status.Status.Conditions = nil
	_, err = g.exports("us-west").UpdateStatus(ctx, status, metav1.UpdateOptions{})
	g.must(err)
	g.serve("us-west", "flapping")
	g.lists(soon, "us-west", "flapping")
	g.serve("us-west", "flapping", "10.0.0.1")
}

// derived is the derived Service of an import, sliceOf its slice.
func (g *grants) derived(c *controlplane.Cluster, name string) *corev1.Service {
	g.Helper()
	list, err := c.Clients.Core.CoreV1().Services(shop).List(context.Background(), metav1.ListOptions{LabelSelector: "federator.dev/import=" + name})
	g.must(err)
	if len(list.Items) != 1 {
		g.Fatalf("expected one derived Service of %s, found %d", name, len(list.Items))
	}
	return &list.Items[0]
}

func (g *grants) sliceOf(c *controlplane.Cluster, name string) *discoveryv1.EndpointSlice {
	g.Helper()
	list, err := c.Clients.Core.DiscoveryV1().EndpointSlices(shop).List(context.Background(), metav1.ListOptions{LabelSelector: "federator.dev/import=" + name})
	g.must(err)
	if len(list.Items) != 1 {
		g.Fatalf("expected one slice of %s, found %d", name, len(list.Items))
	}
	return &list.Items[0]
}

var _ speaker = (*fleet.Replica)(nil)
