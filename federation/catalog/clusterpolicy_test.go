package catalog

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// claimed is a policy "cluster/namespace/name" of a region for a service of the
// namespace, made some minutes after t0.
func claimed(region, origin, service string, minutes int) PolicyClaim {
	o, err := ParsePolicyOrigin(origin)
	if err != nil {
		panic(err)
	}
	return PolicyClaim{PolicyOrigin: o, Region: region, ClusterPolicy: ClusterPolicy{
		Service: service, CreatedAt: t0.Add(time.Duration(minutes) * time.Minute), Policy: Policy{RegionOrder: []string{region}},
	}}
}

// claimObject is the object of a claim, or its tombstone.
func claimObject(c PolicyClaim, generation uint64, deleted bool) Record {
	o := &Object{ObjectKey: c.Key(), Version: ObjectVersion{Generation: generation, HLC: int64(generation), Region: c.Region}, Deleted: deleted}
	if !deleted {
		o.Spec, _ = json.Marshal(c.ClusterPolicy) // strings and times always can be
	}
	return Record{Object: o}
}

// openLaw lets region R own the clusters whose names begin with R's first letter.
func openLaw() PolicyLaw {
	return PolicyLaw{
		Owns:     func(region, cluster string) bool { return region[0] == cluster[0] },
		Refuses:  func(string, string, ServiceName) []string { return nil },
		Operator: func(ServiceName) bool { return false },
	}
}

func TestWhatBecomesOfThePoliciesOfClusters(t *testing.T) {
	old, young := claimed("west", "w1/shop/old", "checkout", 1), claimed("east", "e1/shop/young", "checkout", 2)
	other := claimed("east", "e1/shop/other", "cart", 3)
	for name, c := range map[string]struct {
		claims []PolicyClaim
		law    func(*PolicyLaw)
		want   string
	}{
		"one is in force":                        {[]PolicyClaim{old}, nil, "w1/shop/old in force"},
		"the oldest is in force, across regions": {[]PolicyClaim{young, old}, nil, "e1/shop/young behind an older policy w1/shop/old; w1/shop/old in force"},
		"of two services each":                   {[]PolicyClaim{other, old}, nil, "e1/shop/other in force; w1/shop/old in force"},
		"of the same age the first name": {
			[]PolicyClaim{claimed("west", "w2/shop/a", "checkout", 1), claimed("west", "w1/shop/b", "checkout", 1), claimed("west", "w1/shop/a", "checkout", 1)}, nil,
			"w1/shop/a in force; w1/shop/b behind an older policy w1/shop/a; w2/shop/a behind an older policy w1/shop/a",
		},
		"an operator comes first": {
			[]PolicyClaim{old, young, other}, func(l *PolicyLaw) { l.Operator = func(s ServiceName) bool { return s == checkout } },
			"e1/shop/other in force; e1/shop/young behind an operator's policy; w1/shop/old behind an operator's policy",
		},
		"a refused one does not hold the next up": {
			[]PolicyClaim{old, young}, func(l *PolicyLaw) {
				l.Refuses = func(region, cluster string, s ServiceName) []string {
					if cluster == "w1" && s == checkout {
						return []string{"shop"}
					}
					return nil
				}
			},
			"e1/shop/young in force; w1/shop/old refused [shop]",
		},
		"a region does not speak for another's cluster": {
			[]PolicyClaim{claimed("east", "w1/shop/old", "checkout", 1), young}, nil, "e1/shop/young in force; w1/shop/old foreign",
		},
	} {
		t.Run(name, func(t *testing.T) {
			law := openLaw()
			if c.law != nil {
				c.law(&law)
			}
			var got []string
			for _, s := range JudgePolicies(c.claims, law) {
				text := s.PolicyOrigin.String() + " " + string(s.Standing)
				if s.Winner != (PolicyOrigin{}) {
					text += " " + s.Winner.String()
				}
				if len(s.Rules) > 0 {
					text += fmt.Sprint(" ", s.Rules)
				}
				got = append(got, text)
			}
			if text := strings.Join(got, "; "); text != c.want {
				t.Errorf("expected %s\nfound    %s", c.want, text)
			}
		})
	}
}

func TestTheOrderInWhichPoliciesArriveDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var claims []PolicyClaim
		origins := map[PolicyOrigin]bool{}
		for range rapid.IntRange(0, 12).Draw(t, "claims") {
			region := rapid.SampledFrom([]string{"west", "east"}).Draw(t, "region")
			origin := fmt.Sprintf("%s%d/%s/%s", rapid.SampledFrom([]string{"w", "e"}).Draw(t, "owner"), rapid.IntRange(1, 2).Draw(t, "n"),
				rapid.SampledFrom([]string{"shop", "bank"}).Draw(t, "namespace"), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"))
			c := claimed(region, origin, rapid.SampledFrom([]string{"checkout", "cart"}).Draw(t, "service"), rapid.IntRange(0, 2).Draw(t, "age"))
			if !origins[c.PolicyOrigin] {
				origins[c.PolicyOrigin] = true
				claims = append(claims, c)
			}
		}
		law := openLaw()
		law.Refuses = func(_, cluster string, s ServiceName) []string {
			if cluster == "w2" && s.Namespace == "bank" {
				return []string{"bank"}
			}
			return nil
		}
		want := JudgePolicies(claims, law)
		seed := rapid.Uint64().Draw(t, "seed")
		shuffled := slices.Clone(claims)
		r := rand.New(rand.NewPCG(seed, 0))
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got := JudgePolicies(shuffled, law); !reflect.DeepEqual(got, want) {
			t.Fatalf("shuffled: %v\nwant: %v", got, want)
		}
		inForce := map[ServiceName]int{}
		for _, s := range want {
			if s.Standing == StandsInForce {
				inForce[s.About()]++
			}
		}
		for name, n := range inForce {
			if n != 1 {
				t.Fatalf("%s: expected one policy in force, found %d", name, n)
			}
		}
	})
}

// inForce is the policy of shop/checkout: its region order and where it comes from.
func inForce(c *Catalog) string {
	p, name := c.Conditions().Policy(checkout)
	return strings.TrimSpace(fmt.Sprint(name, " ", p.RegionOrder, " ", c.Conditions().PolicyOrigins[name]))
}

func wantInForce(t *testing.T, c *Catalog, want string) {
	t.Helper()
	if got := inForce(c); got != want {
		t.Errorf("expected %q in force, found %q", want, got)
	}
}

func TestAPolicyOfAClusterIsInForceInTheWholeFederation(t *testing.T) {
	c, east := federated(t)
	mine, theirs := claimed("west", "w1/shop/old", "checkout", 1), claimed("east", "e1/shop/young", "checkout", 2)
	w := c.Watch()
	defer w.Close()
	w.Take()
	east(claimObject(theirs, 1, false))
	if !w.Take().Conditions {
		t.Error("expected the watch to tell of it")
	}
	wantInForce(t, c, "shop/checkout [east] e1/shop/young")
	east(claimObject(mine, 1, false)) // as the other region has adopted it
	wantInForce(t, c, "shop/checkout [west] w1/shop/old")
	east(ruleObject("shop", 1, "east", []string{"shop/*"}, []string{"region:east"}))
	wantInForce(t, c, "shop/checkout [east] e1/shop/young")
	want := []PolicyStanding{{PolicyClaim: theirs, Standing: StandsInForce}, {PolicyClaim: mine, Standing: StandsRefused, Rules: []string{"shop"}}}
	if diff := cmp.Diff(want, c.ClusterPolicies()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	operators, _ := json.Marshal(Policy{RegionOrder: []string{"operators"}})
	east(Record{Object: &Object{ObjectKey: ObjectKey{KindPolicy, "shop/checkout"}, Version: ObjectVersion{1, 1, "east"}, Spec: operators}})
	wantInForce(t, c, "shop/checkout [operators] //")
	east(Record{Object: &Object{ObjectKey: ObjectKey{KindPolicy, "shop/checkout"}, Version: ObjectVersion{2, 2, "east"}, Deleted: true}}, claimObject(theirs, 2, true))
	wantInForce(t, c, "[] //")
}

func TestAClusterThatIsTakenFromItsRegionTakesItsPoliciesAlong(t *testing.T) {
	c, east := federated(t)
	east(claimObject(claimed("east", "e1/shop/young", "checkout", 2), 1, false))
	wantInForce(t, c, "shop/checkout [east] e1/shop/young")
	registry := []Record{{Region: &Region{Name: "west", Epoch: 1, Clusters: []string{"w1"}}}, {Region: &Region{Name: "east", Epoch: 1}}}
	if err := west(c, 2, registry...); err != nil {
		t.Fatal(err)
	}
	wantInForce(t, c, "[] //")
	if s := c.ClusterPolicies(); len(s) != 1 || s[0].Standing != StandsForeign {
		t.Errorf("expected it to be foreign, found %v", s)
	}
}

func TestTheNameOfAPolicyOfACluster(t *testing.T) {
	for text, ok := range map[string]bool{
		"us-1/shop/checkout": true, "us-1.acme/shop/checkout.v2": true, "us-1/shop": false, "us-1/shop/a/b": false, "": false,
		"us-1/Shop/a": false, "us-1/shop/.a": false, "us-1/shop/" + strings.Repeat("a", 64): false, "-/shop/a": false,
	} {
		o, err := ParsePolicyOrigin(text)
		if (err == nil) != ok || ok && o.String() != text {
			t.Errorf("%q: expected ok=%v, found %v, %v", text, ok, o, err)
		}
	}
}

func FuzzReadClusterPolicy(f *testing.F) {
	f.Add("us-1/shop/checkout", []byte(`{"service":"checkout","createdAt":"2026-01-01T00:00:00Z","policy":{"regionOrder":["us-west"]}}`))
	f.Fuzz(func(t *testing.T, name string, spec []byte) {
		c, err := ReadClusterPolicy(&Object{ObjectKey: ObjectKey{KindClusterPolicy, name}, Spec: spec})
		if err == nil && (c.PolicyOrigin.String() != name || c.About().Validate() != nil) {
			t.Errorf("read %+v", c)
		}
	})
}
