package link

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/peering/pb"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// cluster is one that is well: installed, its replicas ready.
func cluster(name string) *Facts {
	return &Facts{
		Context: name, Namespace: "federator-system", ID: "id-" + name, Server: "v1.34.4", Minor: 34, HasClock: true,
		Definitions:  map[string][]string{"serviceexports": {"v1alpha1", "v1beta1"}, "serviceimports": {"v1beta1"}},
		Own:          map[string][]string{"resolutionpolicies": {"v1alpha1"}, "drills": {"v1alpha1"}},
		HasNamespace: true, Installed: true, Image: "federator:1", Replicas: 3, Ready: 3, Region: name, Cluster: name + "-1", Expose: "hostport", Disruptions: true,
		DNS: DNSFacts{Problem: "not looked at"},
	}
}

// member is one whose replicas answer, and know the given regions besides their own.
func member(name string, others ...string) *Facts {
	f := cluster(name)
	f.Agent = &pb.StatusResponse{
		TrustDomain: "acme.example", Ready: true, Zone: "clusterset.local.", Self: &pb.Replica{Region: name, Cluster: name + "-1"},
		Regions:  []*pb.RegionStatus{{Name: name, Own: true, Reach: "reachable", Freshness: "own", Epoch: 1}},
		Clusters: []*pb.ClusterStatus{{Name: name + "-1", Region: name}},
		Build:    &pb.VersionResponse{MinProtocol: 1, MaxProtocol: 3},
	}
	for _, o := range others {
		f.Agent.Regions = append(f.Agent.Regions, &pb.RegionStatus{Name: o, Reach: "reachable", Freshness: "fresh", Epoch: 2, Services: 1})
		f.Agent.Clusters = append(f.Agent.Clusters, &pb.ClusterStatus{Name: o + "-1", Region: o})
	}
	return f
}

// waiting is a cluster whose first pod waits for a token.
func waitingCluster(name string) *Facts {
	f := cluster(name)
	f.Ready, f.Waits, f.Silent = 0, true, "no agent answers on the socket"
	f.Pods = []Pod{{Name: firstPod, Running: true, Says: "the Secret with a token"}}
	return f
}

func codes(problems []*pb.Problem) []string {
	out := []string{}
	for _, p := range problems {
		out = append(out, p.GetSeverity()+" "+p.GetCode())
	}
	return out
}

func TestWhatIsInTheWayOfJoining(t *testing.T) {
	prefix, address := netip.MustParsePrefix, netip.MustParseAddr
	for name, test := range map[string]struct {
		change func(joining, to *Facts, w *Wanted)
		want   []string
	}{
		"nothing":                   {func(*Facts, *Facts, *Wanted) {}, nil},
		"the one has no API server": {func(j, _ *Facts, _ *Wanted) { j.Unreachable = "refused" }, []string{"error api-unreachable"}},
		"the other has none":        {func(_, to *Facts, _ *Wanted) { to.Unreachable = "refused" }, []string{"error api-unreachable"}},
		"an old Kubernetes":         {func(j, _ *Facts, _ *Wanted) { j.Minor = 29 }, []string{"error kubernetes-version"}},
		"no rights":                 {func(_, to *Facts, _ *Wanted) { to.Denied = Needs("x", ToAsk)[:1] }, []string{"error rights"}},
		"rights that are not told":  {func(_, to *Facts, _ *Wanted) { to.Unknown = "no" }, []string{"warning rights-unknown"}},
		"a clock a little off":      {func(j, _ *Facts, _ *Wanted) { j.Ahead = -11 * time.Second }, []string{"warning clock"}},
		"clocks apart":              {func(j, to *Facts, _ *Wanted) { j.Ahead, to.Ahead = 3*time.Minute, -3*time.Minute }, []string{"warning clock", "warning clock", "error clocks-apart"}},
		"a namespace that ends":     {func(j, _ *Facts, _ *Wanted) { j.Ending = true }, []string{"error namespace-ending"}},
		"one cluster by two names":  {func(j, to *Facts, _ *Wanted) { j.ID = to.ID }, []string{"error same-cluster"}},
		"no CRDs":                   {func(j, _ *Facts, _ *Wanted) { j.Definitions = nil }, []string{"error crds-missing", "error crds-missing"}},
		"old CRDs":                  {func(j, _ *Facts, _ *Wanted) { j.Definitions["serviceexports"] = []string{"v1alpha1"} }, []string{"error crds-version"}},
		"it is elsewhere": {func(j, _ *Facts, w *Wanted) {
			j.Installed, j.Elsewhere, *w = false, "fed", Wanted{Install: true, Region: "b", Cluster: "b"}
		}, []string{"error other-namespace"}},
		"nothing to join":           {func(_, to *Facts, _ *Wanted) { to.Installed, to.Agent = false, nil }, []string{"error not-installed"}},
		"nobody answers there":      {func(_, to *Facts, _ *Wanted) { to.Agent, to.Silent = nil, "no" }, []string{"error agent-silent"}},
		"nobody is ready there":     {func(_, to *Facts, _ *Wanted) { to.Agent.Ready = false }, []string{"error agent-not-ready"}},
		"it is cut off":             {func(_, to *Facts, _ *Wanted) { to.Agent.Isolated = true }, []string{"error isolated"}},
		"one replica is away there": {func(_, to *Facts, _ *Wanted) { to.Ready = 2 }, []string{"warning replicas"}},
		"not installed":             {func(j, _ *Facts, _ *Wanted) { *j = Facts{Context: "b", ID: "b", Minor: 34} }, []string{"error crds-missing", "error crds-missing", "error not-installed"}},
		"to be installed": {func(j, _ *Facts, w *Wanted) {
			*j, *w = Facts{Context: "b", ID: "b", Minor: 34}, Wanted{Install: true, Region: "b", Cluster: "b"}
		}, nil},
		"to be installed, old CRDs": {func(j, _ *Facts, w *Wanted) {
			*j, *w = Facts{Context: "b", ID: "b", Minor: 34, Definitions: map[string][]string{"serviceexports": {"v1alpha1"}, "serviceimports": {"v1beta1"}}}, Wanted{Install: true, Region: "b", Cluster: "b"}
		}, []string{"error crds-version"}},
		"to be installed, its region is": {func(j, _ *Facts, w *Wanted) {
			*j, *w = Facts{Context: "b", ID: "b", Minor: 34}, Wanted{Install: true, Region: "a", Cluster: "b"}
		}, []string{"error region-taken"}},
		"another federation":    {func(j, _ *Facts, _ *Wanted) { *j = *member("b"); j.Agent.TrustDomain = "other.example" }, []string{"error other-federation"}},
		"it founds one":         {func(j, _ *Facts, _ *Wanted) { j.Founding = "other.example" }, []string{"error founds-itself"}},
		"it is paused":          {func(j, _ *Facts, _ *Wanted) { j.Replicas = 0 }, []string{"error paused"}},
		"somebody else's token": {func(j, _ *Facts, _ *Wanted) { j.Secret = &JoinSecret{} }, []string{"error other-token"}},
		"our token":             {func(j, _ *Facts, _ *Wanted) { j.Secret = &JoinSecret{TrustDomain: "acme.example"} }, nil},
		"another image":         {func(j, _ *Facts, _ *Wanted) { j.Image = "federator:2" }, []string{"warning image"}},
		"another protocol": {func(j, to *Facts, _ *Wanted) {
			*j = *member("b", "a")
			to.Agent.Build.MinProtocol = 4
			to.Agent.Build.MaxProtocol = 5
		}, []string{"error protocol"}},
		"its region is taken":     {func(j, _ *Facts, _ *Wanted) { j.Region = "a" }, []string{"error region-taken"}},
		"its cluster is taken":    {func(j, _ *Facts, _ *Wanted) { j.Cluster = "a-1" }, []string{"error cluster-taken"}},
		"it has no names":         {func(j, _ *Facts, _ *Wanted) { j.Region = "" }, []string{"error no-config"}},
		"it is not what was said": {func(_, _ *Facts, w *Wanted) { w.Region, w.Cluster = "x", "y" }, []string{"error region", "error cluster-name"}},
		"a region that was removed is": {func(j, to *Facts, _ *Wanted) {
			*j = *member("b", "a")
			to.Agent.Regions = append(to.Agent.Regions, &pb.RegionStatus{Name: "b", Removed: true})
		}, []string{"error region-removed"}},
		"a region that was removed once": {func(_, to *Facts, _ *Wanted) {
			to.Agent.Regions = append(to.Agent.Regions, &pb.RegionStatus{Name: "b", Removed: true})
		}, nil},
		"a region that was removed, and paused": {func(j, to *Facts, _ *Wanted) {
			*j = *cluster("b")
			j.Replicas, j.Ran = 0, true
			to.Agent.Regions = append(to.Agent.Regions, &pb.RegionStatus{Name: "b", Removed: true})
		}, []string{"error region-removed"}},
		"a region that was removed, and never ran there": {func(j, to *Facts, _ *Wanted) {
			*j = *cluster("b")
			j.Replicas = 0
			to.Agent.Regions = append(to.Agent.Regions, &pb.RegionStatus{Name: "b", Removed: true})
		}, []string{"error paused"}},
		"a region that was removed, without disks": {func(j, to *Facts, _ *Wanted) {
			*j = *cluster("b")
			j.Replicas, j.Ran, j.Ephemeral = 0, true, true
			to.Agent.Regions = append(to.Agent.Regions, &pb.RegionStatus{Name: "b", Removed: true})
		}, []string{"error paused"}},
		"nodes of both": {func(j, to *Facts, _ *Wanted) {
			j.Nodes, to.Nodes = []netip.Addr{address("10.0.0.1")}, []netip.Addr{address("10.0.0.1")}
		}, []string{"error nodes-overlap"}},
		"pod networks of both": {func(j, to *Facts, _ *Wanted) {
			j.Expose, j.Networks, to.Networks = "pod", []netip.Prefix{prefix("10.244.0.0/24")}, []netip.Prefix{prefix("10.244.0.0/16")}
		}, []string{"warning pods-overlap"}},
		"pod networks that do not matter": {func(j, to *Facts, _ *Wanted) {
			j.Networks, to.Networks = []netip.Prefix{prefix("10.244.0.0/24")}, []netip.Prefix{prefix("10.244.0.0/16")}
		}, nil},
		"a pod in the other's network": {func(j, to *Facts, _ *Wanted) {
			to.Expose, to.Pods, j.Networks = "pod", []Pod{{Name: firstPod, Address: address("10.244.0.7")}}, []netip.Prefix{prefix("10.244.0.0/24")}
		}, []string{"error pods-overlap"}},
		"a balancer without an address": {func(_, to *Facts, _ *Wanted) {
			to.Expose, to.Replicas, to.Ready, to.Balancers = "loadbalancer", 1, 1, map[string]string{firstPod: ""}
		}, []string{"error balancer-pending"}},
		"a balancer that is missing": {func(_, to *Facts, _ *Wanted) { to.Expose = "loadbalancer" }, []string{"error no-balancer"}},
	} {
		joining, to, w := waitingCluster("b"), member("a"), Wanted{}
		test.change(joining, to, &w)
		problems := Preflight(joining, to, w)
		if found := codes(problems); !slices.Equal(found, test.want) {
			t.Errorf("%s: expected %v, found %v", name, test.want, problems)
		}
		for _, p := range problems {
			if p.GetSubject() == "" || p.GetExpected() == "" || p.GetFound() == "" || p.GetAction() == "" || strings.Contains(p.String(), "%!") {
				t.Errorf("%s: it does not say all: %v", name, p)
			}
		}
	}
}

func TestWhatIsWrongInACluster(t *testing.T) {
	coreDNS := DNSFacts{Corefile: ".:53 {\n errors\n reload\n}\n", Service: []netip.Addr{netip.MustParseAddr("10.96.0.9")}}
	for name, test := range map[string]struct {
		change func(*Facts)
		want   []string
	}{
		"nothing":             {func(*Facts) {}, nil},
		"it is not installed": {func(f *Facts) { f.Installed = false }, []string{"error not-installed"}},
		"it is elsewhere":     {func(f *Facts) { f.Installed, f.Elsewhere = false, "fed" }, []string{"error other-namespace"}},
		"a pod has no image":  {func(f *Facts) { f.Ready, f.Pods = 2, []Pod{{Name: "federator-2", Trouble: "ImagePullBackOff"}} }, []string{"warning replicas", "error pod"}},
		"no pod is ready": {func(f *Facts) {
			f.Ready, f.Agent, f.Silent, f.Pods = 0, nil, "no agent answers", []Pod{{Name: firstPod, Says: "a token"}}
		}, []string{"error replicas", "error pod", "error agent-silent"}},
		"no pod is made":       {func(f *Facts) { f.Ready, f.Agent, f.Silent = 0, nil, "no pods" }, []string{"error replicas", "error agent-silent"}},
		"it is scaled to none": {func(f *Facts) { f.Replicas, f.Ready = 0, 0 }, []string{"warning paused"}},
		"no names":             {func(f *Facts) { f.Cluster = "" }, []string{"error no-config"}},
		"no CRDs":              {func(f *Facts) { f.Definitions, f.Own = nil, nil }, []string{"error crds-missing", "error crds-missing", "info own-crds"}},
		"no CRDs of its own":   {func(f *Facts) { f.Own = nil }, []string{"info own-crds"}},
		"one is missing":       {func(f *Facts) { delete(f.Own, "drills") }, []string{"info own-crds"}},
		"one is of before":     {func(f *Facts) { f.Own["drills"] = []string{"v1alpha0"} }, []string{"info own-crds"}},
		"no CRDs, nor it":      {func(f *Facts) { f.Installed, f.Own = false, nil }, []string{"error not-installed"}},
		"no disruption budget": {func(f *Facts) { f.Disruptions = false }, []string{"warning no-disruption-budget"}},
		"no zone in its DNS":   {func(f *Facts) { f.DNS = coreDNS }, []string{"info dns-zone"}},
		"the zone leads elsewhere": {func(f *Facts) {
			f.DNS = coreDNS
			f.DNS.Corefile += "# BEGIN federator.dev\nclusterset.local:53 {\n    errors\n    forward . 10.96.0.8\n}\n# END federator.dev\n"
		}, []string{"warning dns-zone"}},
		"where the zone is to lead cannot be seen": {func(f *Facts) {
			f.DNS = coreDNS
			f.DNS.Service, f.DNS.Unseen = nil, "forbidden"
			f.DNS.Corefile += "# BEGIN federator.dev\nclusterset.local:53 {\n    errors\n    forward . 10.96.0.8\n}\n# END federator.dev\n"
		}, nil},
		"a cache stands before it": {func(f *Facts) {
			f.DNS = coreDNS
			f.DNS.NodeLocal = true
			f.DNS.Corefile += "# BEGIN federator.dev\nclusterset.local:53 {\n    errors\n    forward . 10.96.0.9\n}\n# END federator.dev\n"
		}, []string{"info dns-node-local"}},
	} {
		f := member("a")
		test.change(f)
		problems := Examine(f)
		if found := codes(problems); !slices.Equal(found, test.want) {
			t.Errorf("%s: expected %v, found %v", name, test.want, problems)
		}
		for _, p := range problems {
			if p.GetSubject() != "context a" || p.GetExpected() == "" || p.GetFound() == "" || p.GetAction() == "" {
				t.Errorf("%s: it does not say all: %v", name, p)
			}
		}
	}
}

func TestNothingIsInstalledOverSomethingElse(t *testing.T) {
	silent := func(f *Facts, pods ...Pod) {
		f.Agent, f.Silent, f.Ready, f.Replicas, f.Ran, f.Pods = nil, "no agent answers on the socket", 0, 3, true, pods
	}
	waits := Pod{Running: true, Waits: true}
	founded := func(f *Facts) { f.Founding, f.Founded, f.Recipient = "acme.example", true, "age1a\n" }
	for name, test := range map[string]struct {
		change     func(*Facts)
		trust, key string
		want       string
	}{
		"the same again":                              {founded, "acme.example", "age1a", ""},
		"the same, as a member":                       {func(*Facts) {}, "", "", ""},
		"the founder, as a member":                    {founded, "", "", ""},
		"nothing is there":                            {func(f *Facts) { *f = Facts{} }, "acme.example", "", ""},
		"it is to found, again":                       {func(f *Facts) { founded(f); f.Agent, f.Founded = nil, false }, "acme.example", "age1a", ""},
		"another region":                              {func(f *Facts) { f.Region = "b" }, "", "", "cannot become region a"},
		"another cluster":                             {func(f *Facts) { f.Cluster = "b" }, "", "", "cluster b, which cannot become"},
		"another federation":                          {func(*Facts) {}, "other.example", "", "is a member of acme.example"},
		"it founds another":                           {func(f *Facts) { f.Agent, f.Founding = nil, "other.example" }, "acme.example", "", "founds other.example"},
		"it is joining, not to be":                    {func(f *Facts) { f.Agent, f.Secret = nil, &JoinSecret{} }, "acme.example", "", "it is joining"},
		"it has joined":                               {func(*Facts) {}, "acme.example", "age1a", "has not founded it"},
		"it has joined, and is silent":                {func(f *Facts) { silent(f, Pod{}, Pod{Running: true}) }, "acme.example", "age1a", "cannot be seen whether it is a member"},
		"it has joined, and its images are gone":      {func(f *Facts) { silent(f, Pod{}, Pod{}, Pod{}) }, "acme.example", "age1a", "cannot be seen whether it is a member"},
		"it has joined, and is paused":                {func(f *Facts) { silent(f); f.Replicas = 0 }, "acme.example", "age1a", "cannot be seen whether it is a member"},
		"it has joined, and the first disk is lost":   {func(f *Facts) { silent(f, Pod{Running: true, Waits: true}, Pod{}) }, "acme.example", "age1a", "cannot be seen whether it is a member"},
		"it has joined, and all disks are lost":       {func(f *Facts) { silent(f, waits, waits, waits) }, "acme.example", "age1a", ""},
		"it looks for its address, and never ran":     {func(f *Facts) { silent(f, Pod{Running: true}, Pod{Running: true}); f.Ran = false }, "acme.example", "age1a", ""},
		"it has never run":                            {func(f *Facts) { silent(f, Pod{}, Pod{}, Pod{}); f.Ran = false }, "acme.example", "age1a", ""},
		"its pods are not there yet":                  {func(f *Facts) { silent(f); f.Ran = false }, "acme.example", "age1a", ""},
		"it waits, on the only node that there is":    {func(f *Facts) { silent(f, waits, Pod{}, Pod{}); f.Ran = false }, "acme.example", "age1a", ""},
		"it is silent, and founds nothing":            {func(f *Facts) { silent(f, Pod{Running: true}) }, "", "", ""},
		"the key is lost":                             {founded, "acme.example", "", "whose public half is age1a, found no such file"},
		"another key":                                 {founded, "acme.example", "age1b", "found that of age1b: give that one, or leave --trust-domain and the key out"},
		"the key is lost before anything was founded": {func(f *Facts) { founded(f); f.Agent, f.Founded = nil, false }, "acme.example", "", "delete configmap federator-init"},
	} {
		f := member("a")
		test.change(f)
		err := MayInstall(f, "a", "a-1", test.trust, test.key)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: expected %q, found %v", name, test.want, err)
		}
	}
}
