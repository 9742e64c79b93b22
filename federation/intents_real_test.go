//go:build linux

package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/kube"
	"github.com/federator/federator/kube/api/v1alpha1"
	"github.com/federator/federator/kube/intents"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/controlplane"
)

// clustered is a federation of real API servers: the regions are named like the
// clusters. The first region has as many replicas as asked for, the others one.
type clustered struct {
	*testing.T
	world  *controlplane.World
	agents map[string][]*agent
}

func cluster(t *testing.T, replicas int, regions ...string) *clustered {
	t.Helper()
	t.Parallel()
	c := &clustered{T: t, world: controlplane.Need(t, controlplane.Options{Clusters: regions}), agents: map[string][]*agent{}}
	for i, region := range regions {
		k := c.world.Cluster(region)
		for _, ns := range []string{"shop", defaultNamespace} {
			_, err := k.Clients.Core.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{})
			c.must(err)
		}
		for n := range map[bool]int{true: replicas, false: 1}[i == 0] {
			p := place(t, region, fmt.Sprintf("%s-%d", region, n))
			p.Cluster = region + "-1"
			if i+n == 0 {
				_, err := Init(InitOptions{Place: p, TrustDomain: "test.example"})
				c.must(err)
			} else {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				_, err := Join(ctx, JoinOptions{Place: p, Token: c.agents[regions[0]][0].invite(t), Progress: func(string) {}})
				cancel()
				c.must(err)
			}
			a := startWith(t, p, Config{Services: writeServices(t, fmt.Sprintf("127.0.%d.1", 10+i)), Kubernetes: Kubernetes{Enabled: true, Kubeconfig: k.Kubeconfig, Context: region}})
			eventually(t, patience, "the replica has its region", func() bool { return a.catalog.Version(region) != (catalog.Version{}) && a.vault.keys().Version > 0 })
			c.agents[region] = append(c.agents[region], a)
		}
	}
	for region, all := range c.agents {
		eventually(t, patience, region+" has a writer and knows all endpoints", func() bool {
			s := all[0].catalog.Service(catalog.ServiceName{Namespace: "shop", Name: "checkout"})
			return c.writer(region) != nil && s != nil && len(s.Backends) == len(regions)
		})
	}
	return c
}

func (c *clustered) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// writer is the replica that writes into the cluster of a region, nil if none does.
func (c *clustered) writer(region string) *agent {
	for _, a := range c.agents[region] {
		if a.kube.writer.Leading() {
			return a
		}
	}
	return nil
}

// install makes federator's own CustomResourceDefinitions.
func (c *clustered) install(region string) {
	c.Helper()
	definitions := c.world.Cluster(region).Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, resource := range []string{v1alpha1.ResourceResolutionPolicies, v1alpha1.ResourceDrills} {
		text, err := os.ReadFile("../deploy/clusters/crds/federator.dev_" + resource + ".yaml")
		c.must(err)
		var d unstructured.Unstructured
		c.must(yaml.Unmarshal(text, &d.Object))
		_, err = definitions.Create(c.Context(), &d, metav1.CreateOptions{})
		c.must(err)
		objects := c.world.Cluster(region).Dynamic.Resource(v1alpha1.GroupVersion().WithResource(resource))
		eventually(c.T, patience, resource+" are served", func() bool {
			_, err := objects.List(c.Context(), metav1.ListOptions{})
			return err == nil
		})
	}
}

// policy creates a ResolutionPolicy for shop/checkout.
func (c *clustered) policy(region, name string, order ...v1alpha1.Label) {
	c.Helper()
	p := &v1alpha1.ResolutionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ResolutionPolicySpec{Service: "checkout", RegionOrder: order}}
	_, err := c.world.Cluster(region).Clients.Federator.FederatorV1alpha1().ResolutionPolicies("shop").Create(c.Context(), p, metav1.CreateOptions{})
	c.must(err)
}

// conditions waits for what a ResolutionPolicy says, "TYPE=STATUS REASON, ...", and
// for words of the message of its condition Ready.
func (c *clustered) conditions(region, name, want, message string) {
	c.Helper()
	found := ""
	defer func() {
		if c.Failed() {
			c.Logf("%s of %s: found %s", name, region, found)
		}
	}()
	// A kind that was missing for two minutes is asked for once a minute.
	eventually(c.T, 90*time.Second, fmt.Sprintf("policy %s of %s says %s: %s", name, region, want, message), func() bool {
		p, err := c.world.Cluster(region).Clients.Federator.FederatorV1alpha1().ResolutionPolicies("shop").Get(c.Context(), name, metav1.GetOptions{})
		if err != nil || len(p.Status.Conditions) == 0 {
			found = fmt.Sprint(err)
			return false
		}
		var got []string
		for _, one := range p.Status.Conditions {
			got = append(got, fmt.Sprintf("%s=%s %s", one.Type, one.Status, one.Reason))
		}
		found = strings.Join(got, ", ") + ": " + p.Status.Conditions[0].Message
		return strings.Join(got, ", ") == want && strings.Contains(found, message)
	})
}

// told waits until an Event of the reason is on an object of shop, and returns what
// it says.
func (c *clustered) told(region, kind, name, reason string) (message string) {
	c.Helper()
	eventually(c.T, patience, fmt.Sprintf("%s %s of %s has an Event %s", kind, name, region, reason), func() bool {
		events, err := c.world.Cluster(region).Clients.Core.CoreV1().Events("shop").List(c.Context(), metav1.ListOptions{
			FieldSelector: "involvedObject.kind=" + kind + ",involvedObject.name=" + name + ",reason=" + reason,
		})
		if err != nil || len(events.Items) == 0 {
			return false
		}
		message = events.Items[0].Type + " " + events.Items[0].Message
		return events.Items[0].InvolvedObject.UID != "" // or kubectl describe does not show it
	})
	return message
}

// saidOf is an Event that has to begin with some words.
func (c *clustered) saidOf(region, kind, name, reason, words string) {
	c.Helper()
	if got := c.told(region, kind, name, reason); !strings.HasPrefix(got, words) {
		c.Errorf("%s of %s %s: expected %q, found %q", reason, kind, name, words, got)
	}
}

// inForce waits until every region resolves shop/checkout by this order.
func (c *clustered) inForce(order ...string) {
	c.Helper()
	for region, all := range c.agents {
		eventually(c.T, patience, fmt.Sprintf("%s resolves by %v", region, order), func() bool {
			p, _ := all[0].catalog.Conditions().Policy(catalog.ServiceName{Namespace: "shop", Name: "checkout"})
			return strings.Join(p.RegionOrder, ",") == strings.Join(order, ",")
		})
	}
}

// object writes an object as an operator does; nil deletes it.
func (c *clustered) object(region string, kind catalog.ObjectKind, name string, spec any) {
	c.Helper()
	cmd := &state.PutObject{ObjectKey: catalog.ObjectKey{Kind: kind, Name: name}, Deleted: spec == nil}
	if spec != nil {
		text, err := json.Marshal(spec)
		c.must(err)
		cmd.Spec = text
	}
	a := c.agents[region][0]
	_, err := a.proposer.Propose(c.Context(), a.systemMeta(), cmd)
	c.must(err)
}

const (
	stateInForce  = "Ready=True InForce, Conflict=False NoConflicts, Refused=False Allowed"
	stateOlder    = "Ready=False OlderPolicy, Conflict=True OlderPolicy, Refused=False Allowed"
	stateOperator = "Ready=False OperatorPolicy, Conflict=True OperatorPolicy, Refused=False Allowed"
	stateRefused  = "Ready=False ExportRules, Refused=True ExportRules"
)

func TestAResolutionPolicyOfOneClusterHoldsInAll(t *testing.T) {
	c := cluster(t, 1, "us-west", "eu-central")
	west, east := "us-west", "eu-central"
	c.install(west) // after its replica has started
	c.policy(west, "old", "us-west", "eu-central")
	c.inForce("us-west", "eu-central")
	c.conditions(west, "old", stateInForce, "in every region")
	c.saidOf(west, v1alpha1.KindResolutionPolicy, "old", v1alpha1.ReasonInForce, "Normal it decides how shop/checkout is resolved")
	answer, err := c.agents[east][0].operatorServer(nil).Resolve(t.Context(), &pb.ResolveRequest{Service: "shop/checkout", From: east})
	c.must(err)
	if text := fmt.Sprint(answer); answer.GetPolicy() != "shop/checkout" || !strings.Contains(text, "ResolutionPolicy old of cluster us-west-1") {
		t.Errorf("expected the region to say which policy it resolves by, found %s", text)
	}

	time.Sleep(1100 * time.Millisecond) // ages have seconds
	c.install(east)
	c.policy(east, "young", "eu-central")
	c.conditions(east, "young", stateOlder, "ResolutionPolicy shop/old of cluster us-west-1 is older")
	c.inForce("us-west", "eu-central")
	c.saidOf(east, v1alpha1.KindResolutionPolicy, "young", "Conflict", "Warning ResolutionPolicy shop/old of cluster us-west-1 is older")

	list, err := c.agents[east][0].operatorServer(nil).ListPolicies(t.Context(), &pb.ListPoliciesRequest{})
	c.must(err)
	if all := list.GetClusterPolicies(); len(all) != 2 || all[0].GetStanding() != string(catalog.StandsBehindOlder) || all[0].GetWinner() != "us-west-1/shop/old" || all[1].GetService() != "shop/checkout" {
		t.Errorf("expected operators to be shown both, found %v", all)
	}

	c.object(east, catalog.KindPolicy, "shop/checkout", catalog.Policy{RegionOrder: []string{"operators"}})
	c.inForce("operators")
	c.conditions(west, "old", stateOperator, "federator policy get shop/checkout")
	c.object(east, catalog.KindPolicy, "shop/checkout", nil)
	c.conditions(west, "old", stateInForce, "")

	c.object(west, catalog.KindExportRule, "shop", catalog.ExportRule{Services: []string{"shop/*"}, Clusters: []string{"region:eu-central"}})
	c.inForce("eu-central")
	c.conditions(west, "old", stateRefused, "no export rule of the federation lets cluster us-west-1 export shop/checkout")
	c.saidOf(west, v1alpha1.KindResolutionPolicy, "old", v1alpha1.ReasonExportRules, "Warning no export rule of the federation lets cluster us-west-1")
	c.conditions(east, "young", stateInForce, "")
	c.object(west, catalog.KindExportRule, "shop", nil)
	c.conditions(east, "young", stateOlder, "")

	c.must(c.world.Cluster(west).StopAPIServer())
	eventually(t, patience, "it is noticed that the API server is away", func() bool {
		_, err := c.agents[west][0].kube.cluster.State()
		return err != nil
	})
	c.inForce("us-west", "eu-central")
	c.must(c.world.Cluster(west).StartAPIServer(t.Context()))
	c.must(c.world.Cluster(west).Clients.Federator.FederatorV1alpha1().ResolutionPolicies("shop").Delete(t.Context(), "old", metav1.DeleteOptions{}))
	c.inForce("eu-central")
	c.conditions(east, "young", stateInForce, "")
}

// drill creates a Drill of shop/checkout in us-west that takes a region away.
func (c *clustered) drill(name, region string, hold v1alpha1.Duration) *v1alpha1.Drill {
	c.Helper()
	d := &v1alpha1.Drill{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.DrillSpec{
		Service: "checkout", Scope: v1alpha1.DrillScope{Region: v1alpha1.Label(region)}, Shape: v1alpha1.DrillShape{Hold: hold}, Reason: "a test",
	}}
	have, err := c.drills().Create(c.Context(), d, metav1.CreateOptions{})
	c.must(err)
	return have
}

func (c *clustered) drills() *kube.Drills {
	return c.world.Cluster("us-west").Clients.Federator.FederatorV1alpha1().Drills("shop")
}

// drilled waits for what a Drill says, "PHASE OUTCOME, TYPE=STATUS REASON, ...", and
// returns it.
func (c *clustered) drilled(name, want string) *v1alpha1.Drill {
	c.Helper()
	var have *v1alpha1.Drill
	seen := []string{}
	eventually(c.T, patience, "drill "+name+" says "+want, func() bool {
		var err error
		if have, err = c.drills().Get(c.Context(), name, metav1.GetOptions{}); err != nil {
			return false
		}
		got := string(have.Status.Phase) + " " + have.Status.Outcome
		for _, one := range have.Status.Conditions {
			got += fmt.Sprintf(", %s=%s %s", one.Type, one.Status, one.Reason)
		}
		if len(seen) == 0 || seen[len(seen)-1] != got {
			seen = append(seen, got)
			c.Logf("drill %s: %s %s", name, got, have.Status.Detail)
		}
		return got == want
	})
	return have
}

func TestADrillOfACluster(t *testing.T) {
	c := cluster(t, 3, "us-west", "eu-central")
	c.install("us-west")
	eu := c.agents["eu-central"][0]

	c.drill("nowhere", "mars", "1m")
	if d := c.drilled("nowhere", "Over failed, Started=False Unsafe, Complete=True Over"); !strings.Contains(d.Status.Detail, "there is no region mars; known are eu-central, us-west") {
		t.Errorf("found %s", d.Status.Detail)
	}
	c.saidOf("us-west", v1alpha1.KindDrill, "nowhere", v1alpha1.ReasonUnsafe, "Warning it does not begin: there is no region mars")

	short := c.drill("short", "eu-central", "4s")
	eventually(t, patience, "the other region takes the traffic away, too", func() bool {
		drills := eu.catalog.Conditions().Drills
		return len(drills) == 1 && drills[0].ID == "kube-"+string(short.UID) && drills[0].Scope.Service.String() == "shop/checkout"
	})
	c.drill("beside", "us-west", "1m")
	if d := c.drilled("beside", "Over failed, Started=False Unsafe, Complete=True Over"); !strings.Contains(d.Status.Detail, "overlaps") {
		t.Errorf("found %s", d.Status.Detail)
	}
	over := c.drilled("short", "Over succeeded, Started=True Over, Complete=False Collecting").Status
	if over.ID != "kube-"+string(short.UID) || over.Begun == nil || over.Ended == nil || len(over.Regions) != 2 || over.Regions[0].Vote != "granted" || over.Regions[1].Vote != "granted" {
		t.Errorf("found %+v", over)
	}

	c.saidOf("us-west", v1alpha1.KindDrill, "short", intents.DrillStarted, "Normal drill kube-")
	c.saidOf("us-west", v1alpha1.KindDrill, "short", intents.DrillEnded, "Normal it is over: succeeded")

	long := c.drill("long", "eu-central", "1h")
	c.drilled("long", "Hold , Started=True Hold, Complete=False Hold")
	writer := c.writer("us-west")
	c.must(writer.stop())
	c.agents["us-west"] = slices.DeleteFunc(c.agents["us-west"], func(a *agent) bool { return a == writer })
	eventually(t, patience, "another replica writes", func() bool { return c.writer("us-west") != nil })
	time.Sleep(2 * lookTwice) // it compares everything
	if d, _ := eu.catalog.Drill("kube-" + string(long.UID)); d.State != catalog.DrillRunning {
		t.Errorf("expected the drill to go on when the writer changes, found %+v", d)
	}
	c.must(c.drills().Delete(t.Context(), "long", metav1.DeleteOptions{}))
	eventually(t, patience, "the drill ends with its object, everywhere", func() bool {
		d, _ := eu.catalog.Drill("kube-" + string(long.UID))
		return d.Recorded == catalog.DrillEnded && d.Outcome == catalog.OutcomeStopped && strings.Contains(d.Detail, "Drill us-west-1/shop/long was deleted")
	})
	if n := len(eu.catalog.Drills()); n != 2 {
		t.Errorf("expected two drills that began, found %d: %v", n, eu.catalog.Drills())
	}
}

// lookTwice is more than it takes to compare everything.
const lookTwice = 2500 * time.Millisecond
