package locality

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
)

// Whatever arrives, in whatever order: at no moment does a client anywhere get an
// endpoint of a set that the rules known at that moment refuse.
func TestNoResolutionEverHasARefusedSet(t *testing.T) {
	regions := []string{"west", "east"}
	clusters := map[string][]string{"west": {"w1", "w2"}, "east": {"e1", "e2"}}
	patterns := []string{"*/*", "shop/*", "shop/checkout", "bank/*", "sh*/check*"}
	selectors := []string{"w1", "w*", "*2", "region:east", "region:west", "e1"}
	rapid.Check(t, func(t *rapid.T) {
		c := catalog.New("west", "west")
		now := time.Unix(1000, 0)
		var registry []catalog.Record
		for _, region := range regions {
			registry = append(registry, catalog.Record{Region: &catalog.Region{Name: region, Epoch: 1, Clusters: clusters[region]}})
		}
		must(t, c.Reset(catalog.Snapshot{Region: "west", Version: catalog.Version{Epoch: 1, Seq: 1}, Records: registry}, now))
		must(t, c.Reset(catalog.Snapshot{Region: "east", Version: catalog.Version{Epoch: 1, Seq: 1}}, now))
		rules, seq := map[string]catalog.ExportRule{}, map[string]uint64{"west": 1, "east": 1}
		for i := range rapid.IntRange(1, 25).Draw(t, "changes") {
			region := rapid.SampledFrom(regions).Draw(t, "region")
			d := catalog.Delta{Region: region}
			if rapid.Bool().Draw(t, "set") {
				d = setChange(t, region, rapid.SampledFrom(clusters[region]).Draw(t, "cluster"))
			} else {
				name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "rule")
				o := catalog.Object{ObjectKey: catalog.ObjectKey{Kind: catalog.KindExportRule, Name: name}, Version: catalog.ObjectVersion{Generation: uint64(i + 1), Region: region}}
				delete(rules, name)
				if o.Deleted = rapid.Bool().Draw(t, "deleted"); !o.Deleted {
					rules[name] = catalog.ExportRule{
						Services: rapid.SliceOfNDistinct(rapid.SampledFrom(patterns), 1, 2, rapid.ID[string]).Draw(t, "services"),
						Clusters: rapid.SliceOfNDistinct(rapid.SampledFrom(selectors), 0, 2, rapid.ID[string]).Draw(t, "clusters"),
					}
					o.Spec, _ = json.Marshal(rules[name]) // strings always can be
				}
				d.Upserts = []catalog.Record{{Object: &o}}
			}
			seq[region]++
			d.Version = catalog.Version{Epoch: 1, Seq: seq[region]}
			must(t, c.Apply(d, now))
			nothingRefused(t, c, catalog.NewExportRules(rules))
		}
	})
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

// setChange has a cluster export shop/checkout, or no longer.
func setChange(t *rapid.T, region, cluster string) catalog.Delta {
	key := catalog.SetKey{Cluster: cluster, Service: catalog.ServiceName{Namespace: "shop", Name: "checkout"}}
	d := catalog.Delta{Region: region}
	if rapid.Bool().Draw(t, "gone") {
		d.Deletes = []catalog.RecordKey{catalog.RecordKey("set/" + key.String())}
		return d
	}
	health := rapid.SampledFrom([]catalog.Health{catalog.Healthy, catalog.Unhealthy}).Draw(t, "health")
	d.Upserts = []catalog.Record{{Set: &catalog.EndpointSet{
		SetKey: key, Ports: []catalog.Port{{Name: "http", Protocol: catalog.TCP, Number: 80}},
		Endpoints: []catalog.Endpoint{{ID: cluster, Address: netip.MustParseAddr("10.0.0.1"), Weight: 1, Health: health}},
	}}}
	return d
}

func nothingRefused(t *rapid.T, c *catalog.Catalog, rules *catalog.ExportRules) {
	exported := map[string]bool{} // and allowed
	c.Exports(func(region string, k catalog.SetKey) bool {
		exported[k.Cluster] = !rules.Verdict(region, k.Cluster, k.Service).Refused()
		return true
	})
	allowed := 0
	for _, ok := range exported {
		if ok {
			allowed++
		}
	}
	for _, region := range []string{"west", "east"} {
		found := 0
		res := Resolve(Input{Service: c.Service(catalog.ServiceName{Namespace: "shop", Name: "checkout"}), Conditions: c.Conditions(), Client: catalog.Locality{Region: region}})
		for _, p := range res.Priorities {
			for _, l := range p.Localities {
				for _, e := range l.Endpoints {
					found++
					if !exported[e.Cluster] {
						t.Fatal(fmt.Sprintf("a client of %s gets an endpoint of %s, which exports it against the rules", region, e.Cluster))
					}
				}
			}
		}
		if found != allowed {
			t.Fatalf("a client of %s gets endpoints of %d clusters, expected those of all %d that may export", region, found, allowed)
		}
	}
}
