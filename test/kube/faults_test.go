//go:build linux

package kube_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/test/e2e/fleet"
)

// Clients that are in no cluster, and those that are in us-west.
var (
	outside  = netip.MustParseAddr("127.0.0.1")
	westward = netip.MustParseAddr("127.200.0.9")
)

// faults is three clusters, of which us-west has to bear something.
type faults struct {
	*stage
	w    *witness
	gate *gate
	// west are the agent and the clusterset IPs of us-west.
	west *fleet.Replica
	ips  map[string]string
}

// The scenes of one story: each finds what the one before it left. All the time,
// nobody in the other clusters is sent anywhere wrong.
func TestImportsAndExportsOutliveTheirAPIServer(t *testing.T) {
	regions := []string{"us-west", "eu-central", "asia-east"}
	s := enact(t, map[string]int{"us-west": 1, "eu-central": 1, "asia-east": 1}, regions...)
	f := &faults{stage: s, west: s.Replicas("us-west")[0], ips: map[string]string{}}
	f.gate = s.through("us-west")
	s.export("us-west", "checkout", "10.0.0.1", "10.0.0.2")
	s.export("us-west", "stock", "10.0.0.5")
	s.export("eu-central", "cart", "10.1.0.1")
	for _, region := range regions {
		for name, from := range map[string]string{"checkout": "us-west-1", "stock": "us-west-1", "cart": "eu-central-1"} {
			ip := s.imported(region, name, from)
			if region == "us-west" {
				f.ips[name] = ip
			}
		}
		s.lists(soon, region, "checkout", "us-west-1 10.0.0.1", "us-west-1 10.0.0.2")
		s.lists(soon, region, "cart", "eu-central-1 10.1.0.1")
	}
	f.w = s.testify("eu-central", "asia-east")
	f.w.only("checkout", "10.0.0.1,10.0.0.2")
	f.w.only("cart", "10.1.0.1")
	t.Run("an API server that is down for a minute", func(t *testing.T) { f.down(t) })
	t.Run("a store that is restored from a snapshot", func(t *testing.T) { f.restored(t) })
	t.Run("a cluster that is rebuilt under its name", func(t *testing.T) { f.rebuilt(t) })
	if n := f.w.stop(); n < 100 {
		t.Errorf("the witness saw only %d answers and slices", n)
	} else {
		t.Logf("a witness saw %d answers and slices, and nothing wrong", n)
	}
}

// down has the API server of us-west down for a while, and then out of its agent's
// reach while everything changes there, too.
func (f *faults) down(t *testing.T) {
	outage := 20 * time.Second
	if slow() {
		outage = time.Minute
	}
	west, ctx := f.world.Cluster("us-west"), context.Background()
	before := f.written(t, "checkout", "stock")
	since := f.heard(t)
	f.must(west.StopAPIServer())
	gone := time.Now()
	f.stale(since)
	f.w.right("cart", "10.1.0.1", "10.1.0.2,10.1.0.3")
	f.serve("eu-central", "cart", "10.1.0.2", "10.1.0.3")
	f.export("asia-east", "ads", "10.2.0.1")
	for _, region := range []string{"eu-central", "asia-east"} {
		f.lists(soon, region, "cart", "eu-central-1 10.1.0.2", "eu-central-1 10.1.0.3")
		f.imported(region, "ads", "asia-east-1")
	}
	f.w.only("cart", "10.1.0.2,10.1.0.3")
	f.answers(f.west, outside, "cart.shop.svc.clusterset.local.", dns.TypeA, "A 10.1.0.2", "A 10.1.0.3")
	f.Until(2*outage, "the outage to be long enough", func() error {
		if lasted := time.Since(gone); lasted < outage {
			return fmt.Errorf("it has lasted %v", lasted)
		}
		return nil
	})
	f.stale(since)
	f.answers(f.west, westward, checkout, dns.TypeA, "A "+f.ips["checkout"])
	f.answers(f.west, outside, checkout, dns.TypeA, "A 10.0.0.1", "A 10.0.0.2")
	f.unwritten(t, before)

	f.gate.shut()
	f.must(west.StartAPIServer(ctx))
	f.w.right("checkout", "10.0.0.1,10.0.0.2", "10.0.0.3")
	f.serve("us-west", "checkout", "10.0.0.3")
	f.export("us-west", "fresh", "10.0.0.6")
	f.must(f.exports("us-west").Delete(ctx, "stock", metav1.DeleteOptions{}))
	// An agent that starts meanwhile knows, and says, no less than one that was there.
	f.west.Stop()
	f.west.Start("--config", f.config["us-west"])
	f.stale(since)
	f.unwritten(t, before)
	f.gate.open()
	f.everywhere("ads asia-east-1 10.2.0.1", "cart eu-central-1 10.1.0.2 10.1.0.3", "checkout us-west-1 10.0.0.3", "fresh us-west-1 10.0.0.6")
	f.w.only("checkout", "10.0.0.3")
	f.west.Ready()
	f.kept(t, "cart", "eu-central-1")
	f.kept(t, "checkout", "us-west-1")
	f.fresh()
}

// restored has us-west lose what was written since a snapshot.
func (f *faults) restored(t *testing.T) {
	west, ctx := f.world.Cluster("us-west"), context.Background()
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	f.must(west.SnapshotEtcd(ctx, snapshot))
	f.w.right("checkout", "10.0.0.3", "10.0.0.4")
	f.w.right("cart", "10.1.0.2,10.1.0.3", "10.1.0.4")
	f.serve("us-west", "checkout", "10.0.0.4")
	f.must(f.exports("us-west").Delete(ctx, "fresh", metav1.DeleteOptions{}))
	f.export("us-west", "newer", "10.0.0.7")
	f.serve("eu-central", "cart", "10.1.0.4")
	f.export("eu-central", "late", "10.1.0.9")
	f.must(f.exports("asia-east").Delete(ctx, "ads", metav1.DeleteOptions{}))
	f.everywhere("cart eu-central-1 10.1.0.4", "checkout us-west-1 10.0.0.4", "late eu-central-1 10.1.0.9", "newer us-west-1 10.0.0.7")
	f.w.only("cart", "10.1.0.4")
	relists, err := metric(f.west, "federator_kube_relists_total")
	f.must(err)

	f.must(west.RestoreEtcd(ctx, snapshot))
	f.everywhere("cart eu-central-1 10.1.0.4", "checkout us-west-1 10.0.0.3", "fresh us-west-1 10.0.0.6", "late eu-central-1 10.1.0.9")
	f.w.only("checkout", "10.0.0.3")
	f.kept(t, "cart", "eu-central-1")
	f.kept(t, "checkout", "us-west-1")
	// It was not in the snapshot: whichever address it has now is the one that is told.
	f.answers(f.west, westward, "late.shop.svc.clusterset.local.", dns.TypeA, "A "+f.imported("us-west", "late", "eu-central-1"))
	f.fresh()
	if now, err := metric(f.west, "federator_kube_relists_total"); err != nil || now <= relists {
		t.Errorf("expected that everything was read anew, found %v times, before %v, %v", now, relists, err)
	}
}

// rebuilt has another cluster come in the place of us-west, under its name.
func (f *faults) rebuilt(t *testing.T) {
	before := f.written(t, "checkout", "fresh")
	since := f.heard(t)
	f.must(f.world.Cluster("us-west").Rebuild(context.Background()))
	f.stale(since)
	f.unwritten(t, before)
	// An agent that starts with credentials of the cluster that was keeps to what was
	// last known, too.
	f.west.Stop()
	f.west.Start("--config", f.config["us-west"])
	f.stale(time.Time{})
	f.unwritten(t, before)

	f.prepare("us-west", 0) // credentials, too: they are other ones
	f.w.right("checkout", "10.0.0.3", "10.0.0.21")
	f.export("us-west", "checkout", "10.0.0.21")
	f.export("us-west", "again", "10.0.0.22")
	f.stale(time.Time{})
	f.unwritten(t, before)
	f.west.Stop()
	f.west.Start("--config", f.config["us-west"])
	f.west.Ready()
	f.everywhere("again us-west-1 10.0.0.22", "cart eu-central-1 10.1.0.4", "checkout us-west-1 10.0.0.21", "late eu-central-1 10.1.0.9")
	f.w.only("checkout", "10.0.0.21")
	for name, from := range map[string]string{"again": "us-west-1", "cart": "eu-central-1", "checkout": "us-west-1", "late": "eu-central-1"} {
		f.answers(f.west, westward, name+".shop.svc.clusterset.local.", dns.TypeA, "A "+f.imported("us-west", name, from))
	}
	f.says("us-west", "checkout", "Ready=True Exported")
	if writer, err := f.writer("us-west"); err != nil || writer != f.west {
		t.Errorf("the imports of the new cluster are written by %v, %v", writer, err)
	}
	f.fresh()
}

// everywhere waits until every cluster imports exactly these services, and lists
// exactly their endpoints: "NAME CLUSTER ADDRESS...".
func (f *faults) everywhere(want ...string) {
	f.Helper()
	begun := time.Now()
	for _, c := range f.world.Clusters {
		f.Until(late, fmt.Sprintf("%s to import %q", c.Name, want), func() error {
			list, err := c.Clients.MCS.MulticlusterV1beta1().ServiceImports(shop).List(context.Background(), metav1.ListOptions{})
			if err != nil {
				return err
			}
			got := []string{}
			for _, i := range list.Items {
				endpoints, err := f.listed(c.Name, i.Name)
				if err != nil || len(i.Status.Clusters) != 1 {
					return fmt.Errorf("import %s of %v: %w", i.Name, i.Status.Clusters, err)
				}
				from := i.Status.Clusters[0].Cluster
				got = append(got, strings.ReplaceAll(strings.Join(append([]string{i.Name + " " + from}, endpoints...), " "), " "+from+" 10.", " 10."))
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				return fmt.Errorf("found %q", got)
			}
			return nil
		})
		f.Logf("%s imports %q after %v", c.Name, want, time.Since(begun).Round(time.Millisecond))
	}
}

// kept checks that an import of us-west has the clusterset IP that it had, and that
// clients in us-west are told so.
func (f *faults) kept(t *testing.T, name, from string) {
	t.Helper()
	if now := f.imported("us-west", name, from); now != f.ips[name] {
		t.Errorf("the clusterset IP of %s was %s, and is %s", name, f.ips[name], now)
	}
	f.answers(f.west, westward, name+".shop.svc.clusterset.local.", dns.TypeA, "A "+f.ips[name])
}

// heard is when the API server of us-west last answered its agent, which misses nothing
// now: to the earlier of the two questions that it asks all the time.
func (f *faults) heard(t *testing.T) time.Time {
	t.Helper()
	f.fresh()
	var lease, list time.Time
	for _, r := range f.requests("us-west") {
		switch what := r.Verb + " " + r.ObjectRef.Resource; {
		case r.Stage != "ResponseComplete" || r.ResponseStatus.Code >= 300:
		case strings.HasSuffix(what, " leases"):
			lease = r.StageTimestamp
		case what == "list endpointslices":
			list = r.StageTimestamp
		}
	}
	if lease.IsZero() || list.IsZero() {
		t.Fatalf("expected answers to both questions in the audit log, found them at %v and %v", lease, list)
	}
	if list.Before(lease) {
		return list
	}
	return lease
}

// stale waits until metrics, status and check of us-west say that its API server is
// away, and since no earlier than it was heard last.
func (f *faults) stale(heard time.Time) {
	f.Helper()
	// An answer may have come too late: a request for the Lease may take 4 s (leaseTimeout
	// of kube/imports), the link asks for at most 2 s. Some of this is told in whole seconds.
	const sooner = 5 * time.Second
	f.Until(soon, "us-west to say that its API server is away", func() error {
		for _, name := range []string{"federator_kube_stale_seconds", "federator_kube_import_unanswered_seconds"} {
			v, err := metric(f.west, name)
			if err != nil || v == 0 || !heard.IsZero() && v > (time.Since(heard)+sooner).Seconds() {
				return fmt.Errorf("%s is %v, %v", name, v, err)
			}
		}
		status, err := f.west.Status()
		if err != nil {
			return err
		}
		said := status.GetImports().GetUnansweredSince().AsTime().Unix()
		for _, c := range status.GetClusters() {
			if c.GetName() == "us-west-1" {
				said = min(said, c.GetStaleSince().AsTime().Unix())
			}
		}
		if said < heard.Add(-sooner).Unix() || said == 0 {
			return fmt.Errorf("status says since %v: %v, %v", time.Unix(said, 0), status.GetClusters(), status.GetImports())
		}
		found, err := f.west.Problems()
		if err == nil && (found["source"].GetSince() == nil || found["imports-unanswered"].GetSince() == nil) {
			err = fmt.Errorf("check finds %v", found)
		}
		return err
	})
}

// fresh waits until us-west says that what it knows of its cluster is up to date.
func (f *faults) fresh() {
	f.Helper()
	f.Until(late, "us-west to say that it is up to date", func() error {
		for _, name := range []string{"federator_kube_stale_seconds", "federator_kube_import_unanswered_seconds"} {
			if v, err := metric(f.west, name); err != nil || v != 0 {
				return fmt.Errorf("%s is %v, %v", name, v, err)
			}
		}
		found, err := f.west.Problems()
		if err == nil && (found["source"] != nil || found["imports-unanswered"] != nil) {
			err = errors.New("check still finds it")
		}
		return err
	})
}
