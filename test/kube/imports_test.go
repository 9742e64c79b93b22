//go:build linux

package kube_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsclient "sigs.k8s.io/mcs-api/pkg/client/clientset/versioned/typed/apis/v1beta1"

	"github.com/federator/federator/test/e2e/fleet"
)

const (
	checkout = "checkout.shop.svc.clusterset.local."
	srv      = "_http._tcp." + checkout
	ownShop  = "kind: ExportRule\nname: shops\nspec: {services: [shop/*], clusters: [region:eu-central]}\n"
)

// The scenes of one story: each finds what the one before it left.
func TestImportsOfTwoRealClusters(t *testing.T) {
	s := enact(t, map[string]int{"us-west": 1, "eu-central": 3}, "us-west", "eu-central")
	pod := netip.MustParseAddr("127.201.0.9") // of eu-central

	s.export("us-west", "checkout", "10.0.0.1", "10.0.0.2")
	ip := s.imported("eu-central", "checkout", "us-west-1")
	s.imported("us-west", "checkout", "us-west-1")
	s.lists(soon, "eu-central", "checkout", "us-west-1 10.0.0.1", "us-west-1 10.0.0.2")
	for _, want := range []string{"Valid=True Valid", "Ready=True Exported", "Conflict=False NoConflicts"} {
		s.says("us-west", "checkout", want)
	}

	t.Run("every replica answers pods of its cluster with the clusterset IP", func(t *testing.T) { s.virtual(t, pod, ip) })
	t.Run("scale to zero and back", func(*testing.T) { s.toZero(pod, ip) })
	t.Run("an export that a rule refuses says so, and is imported nowhere", func(*testing.T) { ip = s.refused(pod) })
	t.Run("a nearer cluster that exports, too, takes its clients", func(*testing.T) { s.nearer() })
	t.Run("users are told by Events", func(*testing.T) {
		s.told("us-west", shop, "ServiceExport Exported", "ServiceExport ExportRefused", "ServiceImport Imported")
		s.told("eu-central", shop, "ServiceImport Imported", "ServiceImport NoEndpoints", "ServiceImport Endpoints")
	})
	t.Run("an API server that is away for a while", func(t *testing.T) { s.away(t, pod, ip) })
	t.Run("a writer that dies is followed by another", func(t *testing.T) { s.succession(t) })
	t.Run("a port more", func(*testing.T) { s.anotherPort() })
	t.Run("clusters that disagree about a service", func(*testing.T) { s.conflict(pod) })
	t.Run("a share that endpoints cannot give is told", func(*testing.T) { s.shares() })
	t.Run("the last export takes everything with it", func(*testing.T) {
		s.must(s.exports("us-west").Delete(context.Background(), "checkout", metav1.DeleteOptions{}))
		s.gone("us-west", "checkout")
		s.gone("eu-central", "checkout")
	})
	t.Run("users of a namespace write a policy and a drill", func(*testing.T) { s.intents() })
	t.Run("what is granted is used, and nothing else is asked for", func(t *testing.T) { s.leastPrivilege(t) })
}

// exports is the client of the ServiceExports of a cluster.
func (s *stage) exports(region string) mcsclient.ServiceExportInterface {
	return s.world.Cluster(region).Clients.MCS.MulticlusterV1beta1().ServiceExports(shop)
}

// virtual asks the DNS of every replica, of eu-central from a pod there.
func (s *stage) virtual(t *testing.T, pod netip.Addr, ip string) {
	for _, r := range s.Replicas("eu-central") {
		s.Until(soon, r.String()+" to say who writes the imports", func() error {
			writer, err := s.writer("eu-central")
			if err != nil {
				return err
			}
			status, err := r.Status()
			if err == nil && (status.GetImports().GetHolder() != writer.Name || status.GetImports().GetWriter() != (r == writer)) {
				err = fmt.Errorf("expected %s, found %v", writer, status.GetImports())
			}
			return err
		})
		s.answers(r, pod, checkout, dns.TypeA, "A "+ip)
		s.answers(r, pod, srv, dns.TypeSRV, "SRV 0 10000 80 "+checkout)
		s.answers(r, netip.MustParseAddr("127.0.0.1"), checkout, dns.TypeA, "A 10.0.0.1", "A 10.0.0.2")
	}
	s.answers(s.Replicas("us-west")[0], pod, checkout, dns.TypeA, "A 10.0.0.1", "A 10.0.0.2") // not its cluster
}

// toZero takes all endpoints away, and brings others.
func (s *stage) toZero(pod netip.Addr, ip string) {
	s.serve("us-west", "checkout")
	s.lists(soon, "eu-central", "checkout")
	s.answers(s.Replicas("eu-central")[0], pod, checkout, dns.TypeA, "A "+ip)
	s.serve("us-west", "checkout", "10.0.0.1", "10.0.0.3")
	s.lists(soon, "eu-central", "checkout", "us-west-1 10.0.0.1", "us-west-1 10.0.0.3")
}

// refused has an export rule forbid the export for a while, and returns where the
// service is reached afterwards.
func (s *stage) refused(pod netip.Addr) string {
	eu := s.Replicas("eu-central")[0]
	s.Pipe(ownShop, "export-rule", "apply", "-f", "-", "--force", "--socket", eu.Sock).OK(s)
	s.says("us-west", "checkout", "Ready=False ExportRefused")
	s.gone("eu-central", "checkout")
	s.gone("us-west", "checkout")
	s.answers(eu, pod, checkout, dns.TypeA)
	eu.CLI("export-rule", "delete", "shops", "--force").OK(s)
	s.says("us-west", "checkout", "Ready=True Exported")
	ip := s.imported("eu-central", "checkout", "us-west-1")
	s.answers(eu, pod, checkout, dns.TypeA, "A "+ip)
	return ip
}

// nearer has eu-central export for a while, be evacuated, and lose its endpoint.
func (s *stage) nearer() {
	eu := s.Replicas("eu-central")[0]
	s.export("eu-central", "checkout", "10.1.0.1")
	s.imported("eu-central", "checkout", "eu-central-1", "us-west-1")
	s.lists(late, "eu-central", "checkout", "eu-central-1 10.1.0.1")
	s.lists(soon, "us-west", "checkout", "us-west-1 10.0.0.1", "us-west-1 10.0.0.3")
	eu.CLI("evacuate", "eu-central", "--for", "10m", "--reason", "to see it").OK(s)
	s.ready(soon, "eu-central", "checkout", "us-west-1 10.0.0.1", "us-west-1 10.0.0.3")
	for _, region := range []string{"us-west", "eu-central"} { // what is over when an agent looks is not told of
		s.told(region, namespace, "Lease RegionEvacuated")
	}
	eu.CLI("evacuate", "eu-central", "--stop").OK(s)
	s.lists(late, "eu-central", "checkout", "eu-central-1 10.1.0.1")
	for _, region := range []string{"us-west", "eu-central"} {
		s.told(region, namespace, "Lease EvacuationEnded")
	}
	s.serve("eu-central", "checkout", "10.1.0.1!")
	s.ready(soon, "eu-central", "checkout", "us-west-1 10.0.0.1", "us-west-1 10.0.0.3")
	s.must(s.exports("eu-central").Delete(context.Background(), "checkout", metav1.DeleteOptions{}))
	s.imported("eu-central", "checkout", "us-west-1")
}

// away stops the API server of eu-central for a while.
func (s *stage) away(t *testing.T, pod netip.Addr, ip string) {
	c := s.world.Cluster("eu-central")
	s.must(c.StopAPIServer())
	replicas := s.Replicas("eu-central")
	for _, r := range replicas {
		s.Until(soon, r.String()+" to say that it cannot be reached", func() error {
			for _, name := range []string{"federator_kube_import_unanswered_seconds", "federator_kube_stale_seconds"} {
				if v, err := metric(r, name); err != nil || v == 0 {
					return fmt.Errorf("%s is %v, %v", name, v, err)
				}
			}
			return nil
		})
	}
	s.Until(soon, "check to say so", func() error {
		found, err := replicas[0].Problems()
		if err == nil && (found["imports-unanswered"] == nil || found["source"] == nil) {
			err = fmt.Errorf("found %v", found)
		}
		return err
	})
	s.serve("us-west", "checkout", "10.0.0.4")
	for _, r := range replicas {
		s.answers(r, netip.MustParseAddr("127.0.0.1"), checkout, dns.TypeA, "A 10.0.0.4")
		s.answers(r, pod, checkout, dns.TypeA, "A "+ip)
	}
	s.must(c.StartAPIServer(context.Background()))
	s.lists(late, "eu-central", "checkout", "us-west-1 10.0.0.4")
	if got := s.imported("eu-central", "checkout", "us-west-1"); got != ip {
		t.Errorf("the clusterset IP was %s, and is %s", ip, got)
	}
	for _, r := range replicas {
		s.Until(late, r.String()+" to be up to date", func() error {
			for _, name := range []string{"federator_kube_import_unanswered_seconds", "federator_kube_stale_seconds"} {
				if v, err := metric(r, name); err != nil || v != 0 {
					return fmt.Errorf("%s is %v, %v", name, v, err)
				}
			}
			return nil
		})
	}
}

// succession kills the writer of eu-central, and whoever follows it.
func (s *stage) succession(t *testing.T) {
	var old, next *fleet.Replica
	holds := func(other *fleet.Replica) func() error {
		return func() (err error) {
			if next, err = s.writer("eu-central"); err == nil && next == other {
				err = fmt.Errorf("%s holds it", next)
			}
			return err
		}
	}
	s.Until(soon, "a replica to hold the Lease", holds(nil))
	old = next
	old.Kill()
	s.serve("us-west", "checkout", "10.0.0.5")
	s.lists(late, "eu-central", "checkout", "us-west-1 10.0.0.5")
	s.Until(soon, "another to hold it", holds(old))
	old.Start("--config", s.config["eu-central"])
	old.Ready()
	next = s.givenUp(t, "eu-central")
	next.Start("--config", s.config["eu-central"])
	next.Ready()
}

// givenUp ends the writer of a region, which gives the Lease up: nobody waits for it to
// run out. It returns which replica that was. A writer has 3 s for that, and its API server
// may be slower once: then it is started again, and another is ended.
func (s *stage) givenUp(t *testing.T, region string) *fleet.Replica {
	for try := 1; ; try++ {
		last, holders, took := s.handover(t, region)
		if len(holders) == 3 && holders[1] == "" {
			t.Logf("another writer %v after one was told to end", took.Round(time.Millisecond))
			return last
		}
		if try == 3 || last == nil {
			t.Fatalf("expected the Lease held by %s, then nobody, then another, found %q", last, holders)
		}
		t.Logf("the Lease was held by %q; once more", holders)
		last.Start("--config", s.config[region])
		last.Ready()
	}
}

// handover ends the writer of a region, and returns who held the Lease from then on until
// another did, and how long that took.
func (s *stage) handover(t *testing.T, region string) (last *fleet.Replica, holders []string, took time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), late)
	defer cancel()
	history, err := s.world.Cluster(region).Clients.Core.CoordinationV1().Leases(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=federator-imports"})
	s.must(err)
	defer history.Stop()
	var begun time.Time
	for e := range history.ResultChan() {
		lease, is := e.Object.(*coordinationv1.Lease)
		if !is || lease.Spec.HolderIdentity == nil || len(holders) > 0 && *lease.Spec.HolderIdentity == holders[len(holders)-1] {
			continue
		}
		if len(holders) == 0 { // as it is now
			at := slices.IndexFunc(s.Replicas(region), func(r *fleet.Replica) bool { return r.Name == *lease.Spec.HolderIdentity })
			if at < 0 {
				continue // nobody, for a moment
			}
			last, begun = s.Replicas(region)[at], time.Now()
			last.Stop()
		}
		if holders = append(holders, *lease.Spec.HolderIdentity); len(holders) > 1 && *lease.Spec.HolderIdentity != "" {
			break
		}
	}
	return last, holders, time.Since(begun)
}

// conflict has two clusters disagree about the type of a service, until the older
// export goes: what is there then becomes the other type, in its place.
func (s *stage) conflict(pod netip.Addr) {
	west := s.world.Cluster("us-west")
	db := "db.shop.svc.clusterset.local."
	ports := []corev1.ServicePort{{Name: "http", Port: 80}}
	exportOf(s, west, "db", corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: ports}, "10.0.0.7")
	s.lists(soon, "eu-central", "db", "us-west-1 10.0.0.7")
	older, err := s.exports("us-west").Get(context.Background(), "db", metav1.GetOptions{})
	s.must(err)
	s.Until(5*time.Second, "the second of the first export to be over", func() error {
		if time.Since(older.CreationTimestamp.Time) < 1100*time.Millisecond {
			return errors.New("it is not")
		}
		return nil
	})
	s.export("eu-central", "db", "10.1.0.7")
	s.says("eu-central", "db", "Conflict=True TypeConflict")
	s.says("us-west", "db", "Conflict=True TypeConflict")
	s.lists(soon, "eu-central", "db", "eu-central-1 10.1.0.7", "us-west-1 10.0.0.7")
	s.answers(s.Replicas("eu-central")[0], pod, db, dns.TypeA, "A 10.0.0.7", "A 10.1.0.7")
	s.must(s.exports("us-west").Delete(context.Background(), "db", metav1.DeleteOptions{}))
	s.answers(s.Replicas("eu-central")[0], pod, db, dns.TypeA, "A "+s.imported("eu-central", "db", "eu-central-1"))
	s.says("eu-central", "db", "Conflict=False NoConflicts")
	s.must(s.exports("eu-central").Delete(context.Background(), "db", metav1.DeleteOptions{}))
	s.gone("eu-central", "db")
}

// anotherPort gives a service one more port, which its import gets, too.
func (s *stage) anotherPort() {
	services := s.world.Cluster("us-west").Clients.Core.CoreV1().Services(shop)
	have, err := services.Get(context.Background(), "checkout", metav1.GetOptions{})
	s.must(err)
	have.Spec.Ports = append(have.Spec.Ports, corev1.ServicePort{Name: "grpc", Port: 90})
	_, err = services.Update(context.Background(), have, metav1.UpdateOptions{})
	s.must(err)
	s.Until(soon, "the derived Service to have the port", func() error {
		list, err := s.world.Cluster("eu-central").Clients.Core.CoreV1().Services(shop).List(context.Background(), metav1.ListOptions{LabelSelector: "federator.dev/import=checkout"})
		if err != nil || len(list.Items) != 1 || len(list.Items[0].Spec.Ports) != 2 {
			return fmt.Errorf("found %+v, %v", list, err)
		}
		return nil
	})
}

// told waits for Events, "KIND REASON".
func (s *stage) told(region, in string, want ...string) {
	s.Helper()
	s.Until(soon, fmt.Sprintf("Events %v in %s of %s", want, in, region), func() error {
		list, err := s.world.Cluster(region).Clients.Core.CoreV1().Events(in).List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		var got []string
		for _, e := range list.Items {
			if e.InvolvedObject.UID != "" || e.InvolvedObject.Kind == "Lease" { // else kubectl describe does not show it
				got = append(got, e.InvolvedObject.Kind+" "+e.Reason)
			}
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				return fmt.Errorf("found %v", got)
			}
		}
		return nil
	})
}

// gone waits until nothing is left of an import.
func (s *stage) gone(region, name string) {
	s.Helper()
	c := s.world.Cluster(region).Clients
	s.Until(soon, name+" to be gone from "+region, func() error {
		ctx, ours := context.Background(), metav1.ListOptions{LabelSelector: "federator.dev/import=" + name}
		if i, err := c.MCS.MulticlusterV1beta1().ServiceImports(shop).Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("found the import %+v, %v", i, err)
		}
		services, err := c.Core.CoreV1().Services(shop).List(ctx, ours)
		slices, err2 := c.Core.DiscoveryV1().EndpointSlices(shop).List(ctx, ours)
		if err != nil || err2 != nil || len(services.Items)+len(slices.Items) > 0 {
			return fmt.Errorf("found %d services, %d slices, %v, %v", len(services.Items), len(slices.Items), err, err2)
		}
		return nil
	})
}

// ready waits for exactly these ready endpoints, whatever else is listed.
func (s *stage) ready(within time.Duration, region, name string, want ...string) {
	s.Helper()
	s.Until(within, fmt.Sprintf("clients of %s in %s to be sent to %v", name, region, want), func() error {
		all, err := s.listed(region, name)
		got := slices.DeleteFunc(slices.Clone(all), func(e string) bool { return strings.HasSuffix(e, "!") })
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("found %v", all)
		}
		return err
	})
}

// leastPrivilege compares what the agents asked of their API servers with what the
// manifests grant.
func (s *stage) leastPrivilege(t *testing.T) {
	used, refused := map[string]bool{}, map[string]bool{}
	for _, c := range s.world.Clusters {
		for _, r := range s.requests(c.Name) {
			one := r.Verb + " " + strings.TrimSuffix(r.ObjectRef.Resource+"/"+r.ObjectRef.Subresource, "/") + "." + r.ObjectRef.APIGroup
			if r.ResponseStatus.Code == 403 {
				refused[one] = true
			} else {
				used[one] = true
			}
		}
	}
	for one := range refused {
		// An API server that starts does not know yet who may do what, and refuses all.
		if !used[one] {
			t.Errorf("the agents may never %s", one)
		}
	}
	rules := read[rbacv1.ClusterRole](s.manifests()["ClusterRole"]).Rules
	for _, r := range read[rbacv1.Role](s.manifests()["Role"]).Rules {
		if slices.Contains(r.Resources, "leases") { // the rest is for pods, which these agents are not
			rules = append(rules, r)
		}
	}
	// Pods look for the zone of their node, and for a Service of type LoadBalancer of
	// their own. A slice is read when its name turns out to be taken, an Event counted
	// up when it happens again.
	// Pods prove themselves in TestPodsProveThemselvesToTheirOwnCluster.
	elsewhere := []string{"create tokenreviews.authentication.k8s.io", "get nodes.", "get services.", "get endpointslices.discovery.k8s.io", "patch events."}
	for _, r := range rules {
		for _, resource := range r.Resources {
			for _, verb := range r.Verbs {
				if one := verb + " " + resource + "." + r.APIGroups[0]; !used[one] && !slices.Contains(elsewhere, one) {
					t.Errorf("%s is granted, and nobody used it", one)
				}
			}
		}
	}
	t.Logf("%d kinds of request", len(used))
}
