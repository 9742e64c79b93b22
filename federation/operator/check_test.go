package operator

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/replication"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// well is a view in which nothing is wrong: three regions of three replicas in
// three clusters each.
func well() *view {
	v := &view{
		now: noon, self: replicaOf("us-west", "us-west-0", "us-west-0"), started: noon.Add(-time.Hour), dns: true,
		about: state.About{Region: "us-west", Epoch: 1, Protocol: 1}, common: 1,
		stats: state.Stats{Leader: "us-west-1.diskus-west-1", Version: catalog.Version{Epoch: 1, Seq: 9}},
		cond: &catalog.Conditions{Region: "us-west", Reach: map[string]catalog.Reach{}, Policies: map[string]catalog.Policy{},
			Evacuations: map[string]catalog.Evacuation{}},
		renewal: goodRenewal(noon), trusted: 3,
		trust:  identity.List{Sequence: 3, Intermediates: []identity.ListedIntermediate{{Region: "us-west", Epoch: 1}}},
		locked: map[string]error{},
		chain:  []*x509.Certificate{{}, {NotAfter: noon.Add(300 * 24 * time.Hour)}, {NotAfter: noon.Add(3000 * 24 * time.Hour)}},
	}
	for _, region := range []string{"asia-east", "eu-central", "us-west"} {
		r := &regionView{name: region, own: region == "us-west", version: catalog.Version{Epoch: 1, Seq: 9}, replicas: 3, alive: 3, heard: noon}
		if !r.own {
			r.link = &replication.LinkStatus{Region: region, Version: r.version, Announced: r.version, LastEvent: noon.Add(-time.Second), Synced: true}
		}
		v.regions = append(v.regions, r)
		v.cond.Reach[region] = catalog.Reachable
		for i := range 3 {
			name := fmt.Sprintf("%s-%d", region, i)
			m := memberView{Replica: replicaOf(region, name, name), state: "alive", role: "unknown", self: region == "us-west" && i == 0}
			m.Member = gossip.Member{Region: region, Name: name, State: gossip.MemberAlive, LastEvidence: noon}
			if r.own {
				m.role = []string{"voter", "leader", "voter"}[i]
				v.stats.Servers = append(v.stats.Servers, state.Server{ID: m.RaftID(), Voter: true})
			}
			v.members = append(v.members, m)
			v.clusters = append(v.clusters, clusterView{region: region, Cluster: catalog.Cluster{Name: name, HealthOwner: name}})
		}
	}
	v.services = []*catalog.Service{serviceOf("checkout", catalog.Healthy, catalog.Unhealthy)}
	return v
}

func serviceOf(name string, health ...catalog.Health) *catalog.Service {
	s := set("us-west-0", "file", name)
	for i := range health {
		s.Endpoints = append(s.Endpoints, catalog.Endpoint{ID: fmt.Sprint(i)})
	}
	return &catalog.Service{Name: s.Service, Backends: []catalog.Backend{{Region: "us-west", Set: &s, Health: health}}}
}

// spreadOf is a service with one endpoint in each of two regions.
func spreadOf(name string, west, central catalog.Health) *catalog.Service {
	s := serviceOf(name, west)
	other := *s.Backends[0].Set
	other.Cluster = "eu-central-0"
	s.Backends = append(s.Backends, catalog.Backend{Region: "eu-central", Set: &other, Health: []catalog.Health{central}})
	return s
}

func (v *view) member(name string) *memberView {
	for i := range v.members {
		if v.members[i].Replica.Name == name {
			return &v.members[i]
		}
	}
	return nil
}

func object(kind catalog.ObjectKind, name string, spec any) *catalog.Object {
	b, err := json.Marshal(spec)
	if err != nil {
		panic(err)
	}
	return &catalog.Object{ObjectKey: catalog.ObjectKey{Kind: kind, Name: name}, Spec: b, Actor: "ada", Version: catalog.ObjectVersion{Generation: 1, HLC: noon.UnixNano(), Region: "us-west"}}
}

func TestNothingIsFoundWhereAllIsWell(t *testing.T) {
	if found := well().check().GetProblems(); len(found) != 0 {
		t.Errorf("expected nothing, found %v", found)
	}
}

func TestARegionOfOnePodIsToldToScaleItsStatefulSet(t *testing.T) {
	w := newWorld(t)
	w.server.Pods = Pods{"federator-system", "federator"}
	r, err := w.server.Check(w.as(), nil)
	w.must(err)
	i := slices.IndexFunc(r.GetProblems(), func(p *pb.Problem) bool { return p.GetCode() == "few-replicas" })
	if i < 0 {
		t.Fatalf("found %v", r.GetProblems())
	}
	if action := r.GetProblems()[i].GetAction(); !strings.HasPrefix(action, "kubectl -n federator-system scale statefulset federator --replicas=3") || strings.Contains(action, "token create") {
		t.Errorf("a pod is told to %s", action)
	}
}

// trouble is one thing gone wrong, and what check must say of it: the severity,
// the code and the subject of each problem, in order, and words of the first.
type trouble struct {
	name  string
	spoil func(*view)
	want  string
	words string
}

func TestEveryTroubleIsFoundAndWorded(t *testing.T) {
	for _, group := range [][]trouble{raftTroubles(), regionTroubles(), clockTroubles(), identityTroubles(), serviceTroubles(), importTroubles(), writeTroubles()} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) { c.run(t) })
		}
	}
}

func (c trouble) run(t *testing.T) {
	v := well()
	c.spoil(v)
	var lines, words []string
	for _, p := range v.check().GetProblems() {
		lines = append(lines, p.GetSeverity()+" "+p.GetCode()+" "+p.GetSubject())
		words = append(words, p.GetExpected()+"|"+p.GetFound()+"|"+p.GetAction())
		if p.GetExpected() == "" || p.GetFound() == "" || p.GetAction() == "" {
			t.Errorf("%s says too little: %v", p.GetCode(), p)
		}
	}
	if got := strings.Join(lines, "; "); got != c.want {
		t.Errorf("expected %q, found %q", c.want, got)
	}
	if all := strings.Join(words, "\n"); !strings.Contains(all, c.words) {
		t.Errorf("expected the words %q in:\n%s", c.words, all)
	}
}

func raftTroubles() []trouble {
	dead := func(names ...string) func(*view) {
		return func(v *view) {
			for _, name := range names {
				v.member(name).state = "dead"
			}
		}
	}
	return []trouble{
		{"a replica waits for something", func(v *view) { v.waitingFor = []string{"the first catalog"} }, "warning not-ready replica us-west-0", "the first catalog"},
		{"the state machine halted", func(v *view) { v.health = []error{state.ErrHalted} }, "error raft-halted replica us-west-0", "run a build"},
		{"a disk is full", func(v *view) { v.health = []error{&state.Error{Code: "disk", Message: "no space left"}} }, "error disk replica us-west-0", "no space left"},
		{"a disk is nearly full", func(v *view) { v.health = []error{&state.Error{Code: "disk-low", Message: "9 MiB are free"}} }, "warning disk-low replica us-west-0", "9 MiB are free"},
		{"something unforeseen is wrong with Raft", func(v *view) { v.health = []error{errors.New("odd")} }, "error raft replica us-west-0", "odd"},
		{"an election is under way", func(v *view) { v.stats.Leader = "" }, "error no-leader region us-west", "3 of 3 voters answer"},
		{"the quorum is lost", func(v *view) { v.stats.Leader = ""; dead("us-west-1", "us-west-2")(v) },
			"error quorum-lost region us-west; warning replica-dead replica us-west-1; warning replica-dead replica us-west-2", "federator region recover"},
		{"this replica lags", func(v *view) { v.stats.CommitIndex = 5000 }, "warning raft-lag replica us-west-0", "5000 changes behind"},
		{"a voter is dead", dead("us-west-2"), "warning replica-dead replica us-west-2", "it is dead, and it votes"},
		{"there are two replicas", func(v *view) { v.region("us-west").replicas = 2 }, "warning few-replicas region us-west", "one voter and a standby"},
		{"there is one replica", func(v *view) { v.region("us-west").replicas = 1 }, "warning few-replicas region us-west", "join two more"},
		{"there are two pods", func(v *view) {
			v.region("us-west").replicas, v.pods = 2, Pods{"federator-system", "federator"}
		}, "warning few-replicas region us-west", "kubectl -n federator-system scale statefulset federator --replicas=3"},
		{"a pod is dead", func(v *view) { dead("us-west-2")(v); v.pods, v.self.Cluster = Pods{"fed", "us-west"}, "us-west-2" },
			"warning replica-dead replica us-west-2", "kubectl -n fed describe pod us-west-2"},
		{"a replica is dead that is no pod", func(v *view) { dead("us-west-2")(v); v.pods = Pods{"fed", "us-west"} },
			"warning replica-dead replica us-west-2", "federator leave us-west-2"},
		{"a cluster holds the quorum", func(v *view) { v.member("us-west-1").Cluster = "us-west-0" }, "warning cluster-holds-quorum cluster us-west-0", "at most 1 of 3 voters"},
		{"the import cache cannot be written", func(v *view) { v.cacheErr = errors.New("read-only") }, "warning import-cache replica us-west-0", "read-only"},
		{"the epoch is missing", func(v *view) { v.about.NeedsEpoch = true }, "error needs-epoch region us-west", "recovered or restored"},
		{"the objects may be old", func(v *view) { v.about.ObjectsSuspect = true }, "warning objects-suspect region us-west", "refilled"},
		{"another region knows us as removed", func(v *view) { v.region("eu-central").link.RemovedEpoch = 1 }, "error region-removed region us-west", "rejoin"},
		{"another region knows our pods as removed", func(v *view) { v.region("eu-central").link.RemovedEpoch, v.pods = 1, Pods{"fed", "federator"} },
			"error region-removed region us-west", "federator unlink --from CLUSTER --uninstall, then federator join --to CLUSTER --install"},
		{"the registry knows our pods as removed", func(v *view) {
			v.region("us-west").record, v.pods = &catalog.Region{Epoch: 1, Removed: true}, Pods{"fed", "federator"}
		}, "error region-removed region us-west", "federator unlink --from CLUSTER --uninstall, then federator join --to CLUSTER --install"},
		{"the registry knows us as removed", func(v *view) { v.region("us-west").record = &catalog.Region{Epoch: 1, Removed: true} }, "error region-removed region us-west", "rejoin"},
	}
}

func regionTroubles() []trouble {
	reach := func(to catalog.Reach) func(*view) {
		return func(v *view) { v.region("eu-central").reach = to }
	}
	return []trouble{
		{"a region is silent", reach(catalog.Silent), "warning region-silent region eu-central", "asking its endpoints"},
		{"a region lost its control plane", reach(catalog.ControlPlaneLost), "error region-control-plane-lost region eu-central", "serving the last known state"},
		{"a region is out", reach(catalog.Out), "error region-out region eu-central", "federator region remove eu-central"},
		{"a removed region is nobody's problem", func(v *view) {
			reach(catalog.Out)(v)
			v.region("eu-central").record = &catalog.Region{Epoch: 1, Removed: true}
		}, "", ""},
		{"we are isolated", func(v *view) {
			v.cond.Isolated = true
			v.region("eu-central").reach = catalog.Silent
		}, "error isolated region us-west", "the fault is probably here"},
		{"a stream is stale", func(v *view) {
			l := v.region("eu-central").link
			l.LastEvent, l.Error = noon.Add(-time.Minute), "connection refused"
		}, "warning stream-stale region eu-central", "connection refused"},
		{"a stream lags", func(v *view) { v.region("eu-central").link.Announced.Seq = 1009 }, "warning stream-lag region eu-central", "1000 changes"},
		{"nothing of a region is known", func(v *view) {
			r := v.region("eu-central")
			r.version, r.link.Error = catalog.Version{}, "no replica has answered yet"
		}, "warning region-unknown region eu-central", "no replica has answered yet"},
		{"a replica elsewhere is dead", func(v *view) { v.member("eu-central-1").state = "dead" }, "warning replica-dead replica eu-central/eu-central-1", "others of its region answer"},
	}
}

func clockTroubles() []trouble {
	skew := func(by time.Duration, names ...string) func(*view) {
		return func(v *view) {
			for _, name := range names {
				v.member(name).Skew = by
			}
		}
	}
	return []trouble{
		{"a clock is a little off", skew(-3*time.Second, "eu-central-0"), "warning clock-skew replica eu-central/eu-central-0", "3s behind"},
		{"a clock is an hour off", skew(time.Hour, "eu-central-0"), "error clock-skew replica eu-central/eu-central-0", "1h0m0s ahead"},
		{"a clock within a second is well", skew(900*time.Millisecond, "eu-central-0"), "", ""},
		{"our own clock is off", skew(2*time.Second, "asia-east-0", "asia-east-1", "asia-east-2", "eu-central-0", "eu-central-1"),
			"warning clock-skew replica asia-east/asia-east-0; warning clock-skew replica asia-east/asia-east-1; warning clock-skew replica asia-east/asia-east-2; warning clock-skew replica eu-central/eu-central-0; warning clock-skew replica eu-central/eu-central-1",
			"set the clock of this replica (us-west-0)"},
		{"builds differ", func(v *view) { v.member("eu-central-0").Build = "v2" }, "info mixed-builds the federation", "v2 on eu-central/eu-central-0"},
		{"a replica cannot follow", func(v *view) { v.about.Protocol = state.Protocol + 1 },
			"error protocol-range replica us-west-0; error protocol-range replica us-west-1; error protocol-range replica us-west-2", fmt.Sprint("understands protocol ", state.Protocol+1)},
		{"a replica holds the protocol back", func(v *view) {
			m := v.member("us-west-1")
			m.MinProtocol, m.MaxProtocol = 0, 0
			v.about.Protocol = 0
			for _, name := range []string{"us-west-0", "us-west-2"} {
				v.member(name).MinProtocol = 0
			}
		}, "info protocol-old replica us-west-1", "holds the region there"},
		{"DNS is off", func(v *view) { v.dns = false }, "info dns-off replica us-west-0", "--dns HOST:PORT"},
	}
}

func identityTroubles() []trouble {
	return []trouble{
		{"there is no certificate", func(v *view) { v.renewal = identity.RenewerState{} }, "error certificate-missing certificate of us-west-0", "none"},
		{"the certificate expired", func(v *view) { v.renewal.NotAfter = noon.Add(-time.Hour) }, "error certificate-expired certificate of us-west-0", "1h0m0s ago"},
		{"the certificate is about to expire", func(v *view) {
			v.renewal.NotBefore, v.renewal.NotAfter, v.renewal.Life = noon.Add(-20*time.Hour), noon.Add(4*time.Hour), 24*time.Hour
		},
			"warning certificate-expiring certificate of us-west-0", "4h0m0s left"},
		{"renewal fails", func(v *view) { v.renewal.Failures, v.renewal.LastError = 2, errors.New("refused") }, "warning renewal-failing certificate of us-west-0", "refused"},
		{"the intermediate ends soon", func(v *view) { v.chain[1].NotAfter = noon.Add(time.Hour) }, "warning intermediate-expiring the intermediate certificate of region us-west", "1h0m0s left"},
		{"the root has ended", func(v *view) { v.chain[2].NotAfter = noon.Add(-time.Hour) }, "error root-expiring the root certificate of region us-west", "expired 1h0m0s ago"},
		{"there is no trust list", func(v *view) { v.trust = identity.List{} }, "error trust-list trust list of us-west-0", "nobody can be trusted"},
		{"the trust list is old", func(v *view) { v.trusted = 4 }, "warning trust-list trust list of us-west-0", "list 4"},
		{"the trust list lacks us", func(v *view) { v.trust.Intermediates = nil }, "error trust-list trust list of us-west-0", "not listed"},
		{"the trust list revokes us", func(v *view) {
			v.trust.Intermediates, v.trust.Revoked = nil, []identity.Revocation{{Region: "us-west"}}
		}, "error region-removed region us-west", "empty the data directories and run federator join; until then it serves its own clients only"},
		{"the trust list revokes our pods", func(v *view) {
			v.trust.Intermediates, v.trust.Revoked, v.pods = nil, []identity.Revocation{{Region: "us-west"}}, Pods{"fed", "federator"}
		}, "error region-removed region us-west", "federator unlink --from CLUSTER --uninstall, then federator join --to CLUSTER --install"},
		{"a secret is damaged", func(v *view) {
			v.secrets = []state.Secret{{Name: "gossip/keyring"}}
			v.locked["gossip/keyring"] = errors.New("damaged")
		}, "error secret-locked secret gossip/keyring", "damaged"},
		{"a voter cannot unseal", func(v *view) {
			v.secrets = []state.Secret{{Name: "ca/intermediate"}}
			v.locked["ca/intermediate"] = identity.ErrNotRecipient
		}, "warning secret-locked secret ca/intermediate", "the leader seals it anew"},
		{"a standby need not unseal", func(v *view) {
			v.secrets = []state.Secret{{Name: "ca/intermediate"}}
			v.locked["ca/intermediate"] = identity.ErrNotRecipient
			v.member("us-west-0").role = "standby"
		}, "", ""},
	}
}

func serviceTroubles() []trouble {
	put := func(s *catalog.Service) func(*view) {
		return func(v *view) { v.services = []*catalog.Service{s} }
	}
	conflict := serviceOf("checkout", catalog.Healthy)
	conflict.Conflicts = []catalog.Conflict{{Reason: catalog.PortConflict, Cluster: "us-west-0", Message: "ports differ"}}
	return []trouble{
		{"a source cannot be read", func(v *view) { v.clusters[0].SourceError = "line 3: bad" }, "error source cluster asia-east-0 of asia-east", "line 3: bad"},
		{"pods cannot prove themselves", func(v *view) { v.unattested = errors.New("may not create tokenreviews") }, "warning pods-unattested pods of cluster us-west-0", "may not create"},
		{"nobody looks after health", func(v *view) { v.clusters[0].HealthOwner, v.clusters[0].endpoints = "", 4 }, "warning unowned-health cluster asia-east-0 of asia-east", "join one"},
		{"clusters disagree", put(conflict), "warning service-conflict service shop/checkout", "ports differ"},
		{"a service is exported without endpoints", put(serviceOf("checkout")), "warning no-endpoints service shop/checkout in cluster us-west-0", "without any"},
		{"nothing of a service is healthy", put(serviceOf("checkout", catalog.Unhealthy, catalog.Draining)), "error no-healthy-endpoint service shop/checkout", "none of 2"},
		{"health is not decided yet", put(serviceOf("checkout", catalog.Unknown)), "warning health-unknown service shop/checkout", "none of 1"},
		{"nothing of a region is healthy", put(spreadOf("checkout", catalog.Unhealthy, catalog.Healthy)), "warning no-healthy-endpoint-in-region service shop/checkout in region us-west", "none of 1"},
		{"degraded is enough", put(serviceOf("checkout", catalog.Degraded)), "", ""},
	}
}

func writeTroubles() []trouble {
	key := catalog.ObjectKey{Kind: catalog.KindPolicy, Name: "default"}
	lost := func(ago time.Duration) func(*view) {
		return func(v *view) {
			v.conflicts = map[catalog.ObjectKey][]state.Overwritten{key: {{At: noon.Add(-ago), Conflict: true, Object: catalog.Object{Actor: "eve", Version: catalog.ObjectVersion{Region: "eu-central"}}}}}
		}
	}
	evacuate := func(v *view, region string) {
		e := catalog.Evacuation{Region: region, Started: noon, Duration: catalog.Duration(time.Hour)}
		v.cond.Evacuations[region] = e
		v.objects = append(v.objects, object(catalog.KindEvacuation, region, e))
	}
	return []trouble{
		{"a policy names an unknown region", func(v *view) {
			v.objects = []*catalog.Object{object(catalog.KindPolicy, "default", catalog.Policy{RegionOrder: []string{"mars", "us-west"}})}
		}, "warning policy-region policy default", "mars"},
		{"a policy is of no service", func(v *view) {
			v.objects = []*catalog.Object{object(catalog.KindPolicy, "shop/gone", catalog.Policy{})}
		}, "info policy-unused policy shop/gone", "no cluster exports one"},
		{"a policy cannot be read", func(v *view) {
			v.objects = []*catalog.Object{object(catalog.KindPolicy, "default", "?")}
		}, "error policy-unreadable policy default", "upgrade"},
		{"a policy of a cluster is refused", func(v *view) {
			v.policies = []catalog.PolicyStanding{clusterPolicy(catalog.StandsRefused, "mars"), clusterPolicy(catalog.StandsBehindOlder, "mars")}
		}, "warning policy-refused ResolutionPolicy shop/nearest of cluster west-1", "refused by export rule payments"},
		{"a policy of a cluster names an unknown region", func(v *view) {
			v.policies = []catalog.PolicyStanding{clusterPolicy(catalog.StandsInForce, "mars"), clusterPolicy(catalog.StandsInForce, "us-west")}
		}, "warning policy-region ResolutionPolicy shop/nearest of cluster west-1", "mars"},
		{"a region is evacuated", func(v *view) { evacuate(v, "eu-central") }, "info evacuated region eu-central", "for another 1h0m0s by ada"},
		{"an evacuation is ignored", func(v *view) { evacuate(v, "us-west") }, "warning evacuation-ignored region us-west; info evacuated region us-west", "shop/checkout"},
		{"a write was lost today", lost(time.Hour), "warning write-lost policy/default", "by eve"},
		{"a write was lost last week", lost(7 * 24 * time.Hour), "info write-lost policy/default", "by eve"},
		{"a write is refused for its clock", func(v *view) {
			v.refused = []state.RefusedObject{{ObjectKey: key, Region: "eu-central", Reason: "1h ahead", Skew: catalog.Duration(time.Hour)}}
		}, "error write-refused policy/default", "by NTP"},
		{"a write is refused for its form", func(v *view) {
			v.refused = []state.RefusedObject{{ObjectKey: key, Region: "eu-central", Reason: "too large"}}
		}, "error write-refused policy/default", "too large"},
	}
}

// clusterPolicy is one of cluster west-1 for shop/checkout that names a region.
func clusterPolicy(standing catalog.Standing, region string) catalog.PolicyStanding {
	p := catalog.PolicyStanding{Standing: standing, PolicyClaim: catalog.PolicyClaim{
		PolicyOrigin:  catalog.PolicyOrigin{Cluster: "west-1", Namespace: "shop", Name: "nearest"},
		ClusterPolicy: catalog.ClusterPolicy{Service: "checkout", CreatedAt: noon, Policy: catalog.Policy{RegionOrder: []string{region}}},
	}}
	if standing == catalog.StandsRefused {
		p.Rules = []string{"payments"}
	}
	return p
}

func TestAFloodOfOneKindHidesNothingElse(t *testing.T) {
	v := well()
	for i := range 100 {
		v.services = append(v.services, serviceOf(fmt.Sprintf("s%d", i), catalog.Unhealthy))
	}
	v.dns = false
	found := v.check().GetProblems()
	if len(found) != maxAlike+2 || found[maxAlike].GetSubject() != "80 more" || found[maxAlike+1].GetCode() != "dns-off" {
		t.Errorf("expected %d problems, found %d: %v", maxAlike+2, len(found), found[len(found)-2:])
	}
}

func TestAShortCertificateBeforeItsRenewalIsNoProblem(t *testing.T) {
	v := well()
	v.renewal = identity.RenewerState{
		NotBefore: noon.Add(-time.Minute - identity.Backdate), NotAfter: noon.Add(time.Minute), Life: 2 * time.Minute, RenewAt: noon,
	}
	if found := v.check().GetProblems(); len(found) > 0 {
		t.Errorf("expected no problem at half of two minutes, found %v", found)
	}
	v.renewal.NotAfter = noon.Add(29 * time.Second)
	if found := v.check().GetProblems(); len(found) != 1 || found[0].GetCode() != "certificate-expiring" {
		t.Errorf("expected certificate-expiring in the last quarter, found %v", found)
	}
}
