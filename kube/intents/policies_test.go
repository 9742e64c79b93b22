package intents

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube/api/v1alpha1"
)

var t0 = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// resolution is a ResolutionPolicy of namespace shop, made some minutes after t0.
func resolution(name, service string, minutes int, order ...v1alpha1.Label) *v1alpha1.ResolutionPolicy {
	return &v1alpha1.ResolutionPolicy{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID(name), Generation: 1, CreationTimestamp: metav1.NewTime(t0.Add(time.Duration(minutes) * time.Minute)),
		},
		Spec: v1alpha1.ResolutionPolicySpec{Service: v1alpha1.Label(service), RegionOrder: order},
	}
}

// world is the own cluster w1 of region west and the federation; what is planned
// happens at once.
type world struct {
	*testing.T
	in       Policies
	objects  map[string]*catalog.Object
	law      catalog.PolicyLaw
	version  uint64
	statuses int
}

func newWorld(t *testing.T, objects ...*v1alpha1.ResolutionPolicy) *world {
	w := &world{T: t, objects: map[string]*catalog.Object{}}
	w.in = Policies{Cluster: "w1", Region: "west", Objects: objects, Whole: true, Stuck: map[catalog.PolicyOrigin]string{}, Now: metav1.NewTime(t0.Add(time.Hour))}
	w.law = catalog.PolicyLaw{
		Owns:     func(region, cluster string) bool { return region[0] == cluster[0] },
		Refuses:  func(string, string, catalog.ServiceName) []string { return nil },
		Operator: func(catalog.ServiceName) bool { return false },
	}
	return w
}

// look brings what is known of the federation up to date.
func (w *world) look() {
	w.in.Written = nil
	var claims []catalog.PolicyClaim
	for _, o := range w.objects {
		w.in.Written = append(w.in.Written, o)
		if c, err := catalog.ReadClusterPolicy(o); err == nil && !o.Deleted {
			claims = append(claims, c)
		}
	}
	w.in.Standings = catalog.JudgePolicies(claims, w.law)
}

// write writes an object of the federation.
func (w *world) write(region string, put PolicyPut, deleted bool) {
	w.version++
	o := &catalog.Object{ObjectKey: put.Origin.Key(), Version: catalog.ObjectVersion{Generation: w.version, HLC: int64(w.version), Region: region}, Deleted: deleted}
	if !deleted {
		o.Spec, _ = json.Marshal(put.Policy)
	}
	w.objects[o.Name] = o
}

// settle carries plans out until there is nothing left to do.
func (w *world) settle() PolicyPlan {
	w.Helper()
	for range 5 {
		w.look()
		plan := w.in.Plan()
		if len(plan.Puts)+len(plan.Deletes)+len(plan.Statuses) == 0 {
			return plan
		}
		for _, p := range plan.Puts {
			if have := w.objects[p.Origin.String()]; versionOf(have) != p.Seen {
				w.Errorf("%s: expected the write to follow %v, found %v", p.Origin, versionOf(have), p.Seen)
			}
			w.write("west", p, false)
		}
		for _, p := range plan.Deletes {
			w.write("west", p, true)
		}
		for _, s := range plan.Statuses {
			w.statuses++
			at := slices.IndexFunc(w.in.Objects, func(o *v1alpha1.ResolutionPolicy) bool { return o.UID == s.UID })
			w.in.Objects[at] = s
		}
	}
	w.Fatal("expected nothing left to do after five rounds")
	return PolicyPlan{}
}

// told are the conditions of an object, "TYPE=STATUS REASON", and the message of
// Ready.
func told(o *v1alpha1.ResolutionPolicy) string {
	var out []string
	for _, c := range o.Status.Conditions {
		if c.ObservedGeneration != o.Generation {
			out = append(out, "old")
		}
		out = append(out, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Reason))
	}
	return strings.Join(out, ", ")
}

func TestAResolutionPolicyIsTakenToTheFederationAndSaysSo(t *testing.T) {
	p := resolution("nearest", "checkout", 1, "west", "east")
	w := newWorld(t, p)
	plan := w.settle()
	if got, want := told(w.in.Objects[0]), "Ready=True InForce, Conflict=False NoConflicts, Refused=False Allowed"; got != want {
		t.Errorf("expected %s\nfound %s", want, got)
	}
	if w.statuses != 1 || plan.Standing["InForce"] != 1 {
		t.Errorf("expected one write of the status, found %d, and %v", w.statuses, plan.Standing)
	}
	if w.in.Standings[0].Policy.RegionOrder[1] != "east" {
		t.Errorf("found %+v", w.in.Standings[0])
	}
	next := w.in.Objects[0].DeepCopy()
	next.Generation, next.Spec.RegionOrder = 2, v1alpha1.Labels{"east"}
	w.in.Objects[0] = next
	w.settle()
	if got := w.in.Standings[0].Policy.RegionOrder; len(got) != 1 || w.statuses != 2 {
		t.Errorf("expected the change to arrive with one write of the status, found %v and %d", got, w.statuses)
	}
	w.in.Objects = nil
	w.in.Whole = false
	if plan := w.settle(); len(plan.Deletes) != 0 || len(w.in.Standings) != 1 {
		t.Error("expected it to stay while the API server is not read in full")
	}
	w.in.Whole = true
	w.settle()
	if len(w.in.Standings) != 0 {
		t.Error("expected it to go with the object")
	}
	w.in.Objects = []*v1alpha1.ResolutionPolicy{resolution("nearest", "checkout", 9)}
	w.settle()
	if len(w.in.Standings) != 1 || !w.in.Standings[0].CreatedAt.Equal(t0.Add(9*time.Minute)) {
		t.Errorf("expected it to come back younger, found %v", w.in.Standings)
	}
}

func TestWhatAResolutionPolicySays(t *testing.T) {
	elsewhere := PolicyPut{Origin: catalog.PolicyOrigin{Cluster: "e1", Namespace: "shop", Name: "theirs"}, Policy: catalog.ClusterPolicy{Service: "checkout", CreatedAt: t0}}
	for name, c := range map[string]struct {
		change  func(*world)
		want    string
		message string
	}{
		"an older one of another cluster": {
			func(w *world) { w.write("east", elsewhere, false) },
			"Ready=False OlderPolicy, Conflict=True OlderPolicy, Refused=False Allowed", "ResolutionPolicy shop/theirs of cluster e1 is older and counts for shop/checkout",
		},
		"an operator's": {
			func(w *world) {
				w.law.Operator = func(s catalog.ServiceName) bool { return s.String() == "shop/checkout" }
			},
			"Ready=False OperatorPolicy, Conflict=True OperatorPolicy, Refused=False Allowed", "federator policy get shop/checkout",
		},
		"an export rule": {
			func(w *world) {
				w.law.Refuses = func(string, string, catalog.ServiceName) []string { return []string{"payments", "default-deny"} }
			},
			"Ready=False ExportRules, Refused=True ExportRules", "no export rule of the federation lets cluster w1 export shop/checkout, so it does not decide how that is resolved either; it is named by payments, default-deny",
		},
		"a cluster that the region does not have yet": {
			func(w *world) { w.law.Owns = func(string, string) bool { return false } },
			"Ready=False ClusterNotJoined", "cluster w1 is not one of region west",
		},
		"a region that takes nothing": {
			func(w *world) {
				w.in.Stuck[catalog.PolicyOrigin{Cluster: "w1", Namespace: "shop", Name: "mine"}] = "a majority of its voters has to run"
			},
			"Ready=False Pending", "a majority of its voters has to run",
		},
		"more than regions take of an object": {
			func(w *world) {
				for i := range 32 {
					o := v1alpha1.RegionOrderFrom{From: v1alpha1.Label(fmt.Sprintf("r%d", i))}
					for j := range 32 {
						o.Order = append(o.Order, v1alpha1.Label(fmt.Sprintf("%s%d", strings.Repeat("r", 60), j)))
					}
					w.in.Objects[0].Spec.RegionOrderFrom = append(w.in.Objects[0].Spec.RegionOrderFrom, o)
				}
			},
			"Ready=False Invalid", "expected at most 32768 bytes of JSON",
		},
		"a name that is too long together": {
			func(w *world) {
				w.in.Cluster = "w" + strings.Repeat("1", 62) + "." + strings.Repeat("1", 63)
				w.in.Objects[0].Name, w.in.Objects[0].Namespace = strings.Repeat("p", 63), strings.Repeat("n", 63)
			},
			"Ready=False Invalid", "of at most 253 bytes together",
		},
		"what no policy may say": {
			func(w *world) { w.in.Objects[0].Spec.RegionOrder = v1alpha1.Labels{"west", "West"} },
			"Ready=False Invalid", `regionOrder[1]: region "West": expected a DNS label`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, resolution("mine", "checkout", 5, "west"))
			c.change(w)
			if len(w.in.Stuck) > 0 { // nothing arrives
				w.look()
				w.in.Objects = w.in.Plan().Statuses
			} else {
				w.settle()
			}
			o := w.in.Objects[0]
			if got := told(o); got != c.want || !strings.Contains(o.Status.Conditions[0].Message, c.message) {
				t.Errorf("expected %s: %s\nfound    %s: %s", c.want, c.message, got, o.Status.Conditions[0].Message)
			}
		})
	}
}

func TestWhatAnotherRegionWroteInTheNameOfTheClusterIsWrittenAnew(t *testing.T) {
	p := resolution("mine", "checkout", 5, "west")
	w := newWorld(t, p)
	w.settle()
	policy, err := translate(p)
	if err != nil {
		t.Fatal(err)
	}
	w.write("east", PolicyPut{Origin: w.in.origin(p), Policy: policy}, false)
	w.settle()
	if got := told(w.in.Objects[0]); !strings.HasPrefix(got, "Ready=True InForce") {
		t.Errorf("expected the policy to stay in force, found %s", got)
	}
	if o := w.objects[w.in.origin(p).String()]; o.Version.Region != "west" {
		t.Errorf("expected the cluster's own region to have written last, found %s", o.Version.Region)
	}
}

func TestOfTooManyResolutionPoliciesTheOldestCount(t *testing.T) {
	var objects []*v1alpha1.ResolutionPolicy
	for i := range MaxPoliciesPerNamespace + 2 {
		objects = append(objects, resolution(fmt.Sprintf("p%03d", i), fmt.Sprintf("s%d", i), -i))
	}
	w := newWorld(t, objects...)
	plan := w.settle()
	if plan.Standing["TooMany"] != 2 || told(w.in.Objects[0]) != "Ready=False TooMany" || told(w.in.Objects[2]) == "Ready=False TooMany" {
		t.Errorf("found %v; the youngest says %s", plan.Standing, told(w.in.Objects[0]))
	}
}

func TestAnotherWritersConditionsStay(t *testing.T) {
	p := resolution("mine", "checkout", 1)
	p.Status.Conditions = []metav1.Condition{{Type: "Reviewed", Status: "True", Reason: "ByHand"}}
	w := newWorld(t, p)
	w.settle()
	if got := told(w.in.Objects[0]); !strings.Contains(got, "Reviewed=True") || !strings.Contains(got, "Ready=True") {
		t.Errorf("found %s", got)
	}
}

func TestEveryFieldOfAResolutionPolicyIsTranslated(t *testing.T) {
	p := resolution("all", "checkout", 0, "west", "east")
	p.Spec.RegionOrderFrom = []v1alpha1.RegionOrderFrom{{From: "asia", Order: v1alpha1.Labels{"east"}}}
	p.Spec.Weights = []v1alpha1.Weight{{Place: "west/a", Weight: 90}, {Place: "east", Weight: 0}}
	p.Spec.OverprovisioningPercent, p.Spec.PanicThresholdPercent = 200, new(int32(0))
	p.Spec.FailoverRegions, p.Spec.Ramp = v1alpha1.Labels{"west", "east"}, new(v1alpha1.Duration("30s"))
	p.Spec.Safety = &v1alpha1.Safety{MinRegions: 2, MinEndpointsPercent: 50, Gates: v1alpha1.Labels{"till"}}
	got, err := translate(p)
	if err != nil {
		t.Fatal(err)
	}
	want := catalog.ClusterPolicy{Service: "checkout", CreatedAt: t0, Policy: catalog.Policy{
		RegionOrder: []string{"west", "east"}, RegionOrderFrom: map[string][]string{"asia": {"east"}},
		Weights: map[string]uint32{"west/a": 90, "east": 0}, OverprovisioningPercent: 200, PanicThresholdPercent: new(uint32(0)),
		FailoverRegions: []string{"west", "east"}, Ramp: new(catalog.Duration(30 * time.Second)),
		Safety: &catalog.Safety{MinRegions: 2, MinEndpointsPercent: 50, Gates: []string{"till"}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTheOrderInWhichTheAPIServerListsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var objects []*v1alpha1.ResolutionPolicy
		for i := range rapid.IntRange(1, 8).Draw(rt, "objects") {
			objects = append(objects, resolution(fmt.Sprintf("p%d", i), rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "service"), rapid.IntRange(0, 2).Draw(rt, "age")))
		}
		outcome := func(seed uint64) string {
			w := newWorld(t)
			for _, o := range objects {
				w.in.Objects = append(w.in.Objects, o.DeepCopy())
			}
			r := rand.New(rand.NewPCG(seed, 0))
			r.Shuffle(len(w.in.Objects), func(i, j int) { w.in.Objects[i], w.in.Objects[j] = w.in.Objects[j], w.in.Objects[i] })
			w.settle()
			var lines []string
			for _, o := range w.in.Objects {
				lines = append(lines, o.Name+" "+told(o)+" "+o.Status.Conditions[0].Message)
			}
			slices.Sort(lines)
			return strings.Join(lines, "\n")
		}
		a, b := outcome(rapid.Uint64().Draw(rt, "a")), outcome(rapid.Uint64().Draw(rt, "b"))
		if a != b {
			rt.Fatalf("one order:\n%s\nanother:\n%s", a, b)
		}
	})
}
