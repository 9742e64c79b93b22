package catalog

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// ruleObject is a rule that names the services and allows the clusters, or its
// tombstone if it names none.
func ruleObject(name string, generation uint64, region string, services, clusters []string) Record {
	o := &Object{ObjectKey: ObjectKey{KindExportRule, name}, Version: ObjectVersion{Generation: generation, HLC: int64(generation), Region: region}, Deleted: services == nil}
	if services != nil {
		o.Spec, _ = json.Marshal(ExportRule{services, clusters}) // strings always can be
	}
	return Record{Object: o}
}

// exporter are the clusters that export shop/checkout now, in order.
func exporters(c *Catalog) []string {
	var out []string
	if s := c.Service(checkout); s != nil {
		for _, b := range s.Backends {
			out = append(out, b.Set.Cluster)
		}
	}
	slices.Sort(out)
	return out
}

// federated is a catalog of west, where the registry gives w1 to west and e1 to
// east, and both export shop/checkout.
func federated(t *testing.T) (c *Catalog, east func(...Record)) {
	t.Helper()
	c = New("west", "west")
	registry := func(name string, clusters ...string) Record {
		return Record{Region: &Region{Name: name, Epoch: 1, Clusters: clusters}}
	}
	if err := west(c, 1, registry("west", "w1"), registry("east", "e1"), Record{Set: set("w1", "a")}); err != nil {
		t.Fatal(err)
	}
	seq := uint64(1)
	if err := c.Reset(Snapshot{Region: "east", Version: Version{1, seq}, Records: []Record{{Set: set("e1", "b")}}}, t0); err != nil {
		t.Fatal(err)
	}
	return c, func(records ...Record) {
		t.Helper()
		seq++
		if err := c.Apply(Delta{Region: "east", Version: Version{1, seq}, Upserts: records}, t0); err != nil {
			t.Fatal(err)
		}
	}
}

func wantExporters(t *testing.T, c *Catalog, want ...string) {
	t.Helper()
	if got := exporters(c); !slices.Equal(got, want) {
		t.Errorf("expected %v to export, found %v", want, got)
	}
}

func TestARefusedSetIsKeptAndPutBackWhenTheRuleGoes(t *testing.T) {
	c, east := federated(t)
	wantExporters(t, c, "e1", "w1")
	w := c.Watch()
	defer w.Close()
	w.Take()
	east(ruleObject("shop", 1, "east", []string{"shop/*"}, []string{"region:west"}))
	wantExporters(t, c, "w1")
	if ch := w.Take(); !slices.Equal(ch.Services, []ServiceName{checkout}) {
		t.Errorf("expected the watch to name the service, found %v", ch)
	}
	want := []Refusal{{"east", SetKey{"e1", checkout}, []string{"shop"}}}
	if diff := cmp.Diff(want, c.Refusals()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(want, c.RefusalsOf(checkout)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := c.Refused("e1"); len(got) != 1 || got[checkout] != "shop" || len(c.Refused("w1")) > 0 {
		t.Errorf("expected e1 to be told of the rule, and w1 of none, found %v and %v", got, c.Refused("w1"))
	}

	east(ruleObject("all", 1, "east", []string{"*/*"}, nil)) // refused by both now
	if ch := w.Take(); !slices.Equal(ch.Services, []ServiceName{checkout}) || c.Refused("e1")[checkout] != "all, shop" {
		t.Errorf("expected both rules to be told, found %v and %v", ch, c.Refused("e1"))
	}
	east(ruleObject("other", 1, "east", []string{"bank/*"}, nil))
	if ch := w.Take(); len(ch.Services) > 0 {
		t.Errorf("expected a rule of other services to touch none, found %v", ch)
	}
	east(ruleObject("shop", 2, "east", nil, nil), ruleObject("all", 2, "east", nil, nil))
	wantExporters(t, c, "e1", "w1")
	if len(c.Refusals())+len(c.Refused("e1")) > 0 {
		t.Errorf("expected no refusals, found %v", c.Refusals())
	}
}

func TestAServiceThatOnlyRefusedClustersExportDoesNotExist(t *testing.T) {
	c, east := federated(t)
	east(ruleObject("deny", 1, "east", []string{"*/*"}, nil))
	if s := c.Service(checkout); s != nil || len(c.Services()) > 0 || len(c.Backends("east", "e1")) > 0 || len(c.Exporting("east")) > 0 {
		t.Errorf("expected nothing, found %v", s)
	}
	if len(c.Refusals()) != 2 {
		t.Errorf("expected both to be refused, found %v", c.Refusals())
	}
}

// Its owner goes on looking after what is refused, so that it is right when it is
// put back, and can be deleted meanwhile.
func TestTheOwnerOfARefusedSetStillSeesIt(t *testing.T) {
	c, east := federated(t)
	east(Record{Cluster: &Cluster{Name: "e1"}}, ruleObject("deny", 1, "east", []string{"*/*"}, nil))
	c.ApplyHealth(HealthDelta{Cluster: "e1", Changes: []HealthChange{{Service: checkout, Endpoint: "b", Health: Unhealthy, Version: HealthVersion{1, 1, 1}}}}, t0)
	published := c.Published("east", "e1")
	if len(published) != 1 || published[0].Health[0] != Unhealthy || c.Set("east", SetKey{"e1", checkout}) != published[0].Set {
		t.Errorf("expected the set with the health that was gossiped, found %v", published)
	}
	if c.Set("west", SetKey{"e1", checkout}) != nil || len(c.Published("west", "e1")) > 0 {
		t.Error("expected no set of a cluster of another region")
	}
	count := 0
	c.Exports(func(region string, k SetKey) bool { count++; return true })
	if count != 2 {
		t.Errorf("expected two sets, found %d", count)
	}
	east(ruleObject("deny", 2, "east", nil, nil))
	if got := healthOf(c); !slices.Equal(got, []Health{Unhealthy, Healthy}) {
		t.Errorf("expected it back with its health, found %v", got)
	}
}

func TestARuleOfARegionHoldsUntilANewerVersionOrItsRemoval(t *testing.T) {
	c, east := federated(t)
	east(ruleObject("deny", 2, "east", []string{"*/*"}, []string{"w1"}))
	// West still holds the version before: it lags, and gets nothing by that.
	if err := c.Apply(Delta{Region: "west", Version: Version{1, 2}, Upserts: []Record{ruleObject("deny", 1, "west", []string{"*/*"}, []string{"*"})}}, t0); err != nil {
		t.Fatal(err)
	}
	wantExporters(t, c, "w1")
	// The registry takes the cluster from the region that the selector names.
	east(ruleObject("deny", 3, "east", []string{"*/*"}, []string{"region:west"}))
	wantExporters(t, c, "w1")
	removed := Record{Region: &Region{Name: "east", Epoch: 1, Clusters: []string{"e1"}, Removed: true}}
	if err := c.Apply(Delta{Region: "west", Version: Version{1, 3}, Upserts: []Record{removed}}, t0); err != nil {
		t.Fatal(err)
	}
	if len(c.Refusals()) > 0 {
		t.Errorf("expected a removed region's rule to be void, found %v", c.Refusals())
	}
}

func TestTheRegistryDecidesWhichClustersARegionSelectorMeans(t *testing.T) {
	c, east := federated(t)
	east(ruleObject("shop", 1, "east", []string{"shop/*"}, []string{"region:east"}))
	wantExporters(t, c, "e1")
	moved := []Record{{Region: &Region{Name: "west", Epoch: 1, Clusters: []string{"e1"}}}, {Region: &Region{Name: "east", Epoch: 1, Clusters: []string{"w1"}}}, {Set: set("e1", "c")}}
	if err := c.Apply(Delta{Region: "west", Version: Version{1, 2}, Upserts: moved}, t0); err != nil {
		t.Fatal(err)
	}
	if got := c.Refused("e1"); got[checkout] != "shop" {
		t.Errorf("expected the set of e1, now of west, to be refused, found %v", got)
	}
}

func TestARuleThatThisBuildCannotReadIsNotEnforced(t *testing.T) {
	c, east := federated(t)
	for i, spec := range []string{`{`, `{"services":["**"]}`, `{"services":[]}`, `{"services":["*/*"],"clusters":[1]}`} {
		o := &Object{ObjectKey: ObjectKey{KindExportRule, "new"}, Version: ObjectVersion{Generation: uint64(i + 1), Region: "east"}, Spec: json.RawMessage(spec)}
		east(Record{Object: o})
		wantExporters(t, c, "e1", "w1")
	}
}

// Whatever the order in which sets, rules, tombstones and the registry arrive, and
// however they are cut into changes, the view is that of the simple rule.
func TestRefusalsDoNotDependOnTheOrderOfArrival(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clusters := []string{"c1", "c2", "d1"}
		regions := map[string]string{"c1": "west", "c2": "east", "d1": "east"}
		records := map[string][]Record{}
		for _, cluster := range clusters {
			for _, name := range []string{"api", "web"} {
				if rapid.Bool().Draw(t, cluster+name) {
					s := set(cluster, "x")
					s.Service.Name = name
					records[regions[cluster]] = append(records[regions[cluster]], Record{Set: s})
				}
			}
		}
		rules := drawRules(t, records)
		c := New("west", "west")
		registry := []Record{{Region: &Region{Name: "west", Epoch: 1, Clusters: []string{"c1"}}}, {Region: &Region{Name: "east", Epoch: 1, Clusters: []string{"c2", "d1"}}}}
		for _, region := range rapid.Permutation([]string{"west", "east"}).Draw(t, "regions") {
			deliver(t, c, region, records[region], registry)
		}
		for _, name := range []string{"api", "web"} {
			var want []string
			for _, cluster := range clusters {
				key := RecordKey("set/" + cluster + "/shop/" + name)
				exported, may := c.regions[regions[cluster]].records[key] != nil, allowed(rules, regions[cluster], cluster, name)
				if exported && may {
					want = append(want, cluster)
				}
				if _, refused := c.Refused(cluster)[ServiceName{"shop", name}]; refused != (exported && !may) {
					t.Fatalf("%s of %s with %v: expected refused %v, found %v", name, cluster, rules, exported && !may, refused)
				}
			}
			var got []string
			if s := c.Service(ServiceName{"shop", name}); s != nil {
				for _, b := range s.Backends {
					got = append(got, b.Set.Cluster)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("%s with %v: expected %v, found %v", name, rules, want, got)
			}
		}
	})
}

// drawRules adds export rules to the records of both regions, each overwritten once,
// and returns those that are in force.
func drawRules(t *rapid.T, records map[string][]Record) map[string]ExportRule {
	rules := map[string]ExportRule{}
	for i := range rapid.IntRange(0, 4).Draw(t, "rules") {
		name := fmt.Sprintf("r%d", i)
		rule := ExportRule{
			Services: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"*/*", "shop/api", "shop/w*", "*/web", "s*/*"}), 1, 2, rapid.ID[string]).Draw(t, "services"),
			Clusters: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"c1", "c*", "*1", "region:east", "region:west"}), 0, 2, rapid.ID[string]).Draw(t, "clusters"),
		}
		in := rapid.SampledFrom([]string{"west", "east"})
		old := in.Draw(t, "old")
		records[old] = append(records[old], ruleObject(name, 1, old, []string{"*/*"}, nil))
		var last Record
		if writer := in.Draw(t, "writer"); rapid.Bool().Draw(t, "deleted") {
			last = ruleObject(name, 2, writer, nil, nil)
		} else {
			last = ruleObject(name, 2, writer, rule.Services, rule.Clusters)
			rules[name] = rule
		}
		for _, holder := range []string{"west", "east"} { // each region adopts it
			records[holder] = append(records[holder], last)
		}
	}
	return rules
}

// deliver brings the records of a region, the registry among them if it is west,
// in some order and in several changes. What comes twice keeps its order.
func deliver(t *rapid.T, c *Catalog, region string, records, registry []Record) {
	if region == "west" {
		records = slices.Concat(registry, records)
	}
	if err := c.Reset(Snapshot{Region: region, Version: Version{1, 1}}, t0); err != nil {
		t.Fatal(err)
	}
	order := rapid.Permutation(indexes(len(records))).Draw(t, "order of "+region)
	held := map[RecordKey]uint64{}
	for n, i := range order {
		r := records[i]
		if o := r.Object; o != nil {
			if held[r.Key()] > o.Version.Generation {
				r = Record{} // Raft keeps the newest only
			} else {
				held[r.Key()] = o.Version.Generation
			}
		}
		d := Delta{Region: region, Version: Version{1, uint64(n + 2)}}
		if !reflect.DeepEqual(r, Record{}) {
			d.Upserts = []Record{r}
		}
		if err := c.Apply(d, t0); err != nil {
			t.Fatal(err)
		}
	}
}

// allowed is the rule for the patterns of the test, spelled out.
func allowed(rules map[string]ExportRule, region, cluster, service string) bool {
	names := map[string]bool{"*/*": true, "s*/*": true, "shop/api": service == "api", "shop/w*": service == "web", "*/web": service == "web"}
	allows := map[string]bool{"c1": cluster == "c1", "c*": cluster[0] == 'c', "*1": cluster[1] == '1', "region:east": region == "east", "region:west": region == "west"}
	named := false
	for _, r := range rules {
		if !slices.ContainsFunc(r.Services, func(s string) bool { return names[s] }) {
			continue
		}
		named = true
		if slices.ContainsFunc(r.Clusters, func(s string) bool { return allows[s] }) {
			return true
		}
	}
	return !named
}

// BenchmarkARuleChangesAmong100kServices measures one change of the rules, of
// which there are 300, that takes 1,000 services away and gives them back.
func BenchmarkARuleChangesAmong100kServices(b *testing.B) {
	c := New("west", "west")
	var records []Record
	for i := range 100_000 {
		s := set("w1", "a")
		s.Service = ServiceName{fmt.Sprintf("ns%d", i%100), fmt.Sprintf("s%d", i)}
		records = append(records, Record{Set: s})
	}
	for i := range 300 {
		records = append(records, ruleObject(fmt.Sprintf("r%d", i), 1, "west", []string{fmt.Sprintf("ns%d/*", i), "*/tool-*"}, []string{"region:west"}))
	}
	if err := west(c, 1, records...); err != nil {
		b.Fatal(err)
	}
	seq := uint64(1)
	for b.Loop() {
		seq++
		clusters := [][]string{nil, {"w1"}}[seq%2]
		if err := c.Apply(Delta{Region: "west", Version: Version{1, seq}, Upserts: []Record{ruleObject("r7", seq, "west", []string{"ns7/*"}, clusters)}}, t0); err != nil {
			b.Fatal(err)
		}
	}
}
