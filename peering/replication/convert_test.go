package replication

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

func genLabel() *rapid.Generator[string] {
	return rapid.StringMatching(`[a-z]([a-z0-9-]{0,6}[a-z0-9])?`)
}

func genText() *rapid.Generator[string] { return rapid.StringMatching(`[ -~äß]{0,12}`) }

func genTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "zero") {
			return time.Time{}
		}
		return time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
	})
}

func genAddr() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.Bool().Draw(t, "v6") {
			b := [16]byte{0xfd}
			copy(b[8:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "b"))
			return netip.AddrFrom16(b)
		}
		return netip.AddrFrom4([4]byte{10, rapid.Byte().Draw(t, "b"), 1, rapid.Byte().Draw(t, "c")})
	})
}

func genKey() *rapid.Generator[catalog.SetKey] {
	return rapid.Custom(func(t *rapid.T) catalog.SetKey {
		return catalog.SetKey{Cluster: genLabel().Draw(t, "cluster"), Service: catalog.ServiceName{
			Namespace: genLabel().Draw(t, "ns"), Name: genLabel().Draw(t, "name")}}
	})
}

func genHealth() *rapid.Generator[catalog.Health] {
	return rapid.Custom(func(t *rapid.T) catalog.Health {
		return catalog.Health(rapid.Uint8Range(0, uint8(catalog.Draining)).Draw(t, "h"))
	})
}

func genEndpoint(i int) *rapid.Generator[catalog.Endpoint] {
	return rapid.Custom(func(t *rapid.T) catalog.Endpoint {
		e := catalog.Endpoint{
			ID:      fmt.Sprintf("%d-%s", i, genText().Draw(t, "id")),
			Address: genAddr().Draw(t, "addr"),
			Weight:  rapid.Uint32Range(1, 65535).Draw(t, "w"),
			Health:  genHealth().Draw(t, "health"),
		}
		if rapid.Bool().Draw(t, "more") {
			e.Zone, e.Hostname = genLabel().Draw(t, "zone"), genLabel().Draw(t, "host")
			e.Ports = rapid.MapOfN(genLabel(), rapid.Uint16Range(1, 65535), 1, 3).Draw(t, "ports")
		}
		return e
	})
}

func genSet() *rapid.Generator[*catalog.EndpointSet] {
	return rapid.Custom(func(t *rapid.T) *catalog.EndpointSet {
		s := &catalog.EndpointSet{SetKey: genKey().Draw(t, "key"), Source: "kube",
			Headless: rapid.Bool().Draw(t, "headless"), CreatedAt: genTime().Draw(t, "created"),
			AffinitySeconds: rapid.Uint32Range(0, catalog.MaxAffinitySeconds).Draw(t, "affinity")}
		if rapid.Bool().Draw(t, "properties") {
			s.Properties = &catalog.Properties{
				Labels:      rapid.MapOfN(genLabel(), genLabel(), 1, 3).Draw(t, "labels"),
				Annotations: rapid.MapOfN(genLabel(), genText(), 1, 3).Draw(t, "annotations"),
				NodeLocal:   rapid.Bool().Draw(t, "node local"), TrafficDistribution: rapid.SampledFrom([]string{"", "PreferClose"}).Draw(t, "distribution"),
				IPv4: rapid.Bool().Draw(t, "ipv4"), IPv6: rapid.Bool().Draw(t, "ipv6")}
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "ports") {
			s.Ports = append(s.Ports, catalog.Port{Name: fmt.Sprint("p", i), Number: uint16(i + 1), AppProtocol: genText().Draw(t, "app"),
				Protocol: rapid.SampledFrom([]catalog.Protocol{catalog.TCP, catalog.UDP, catalog.SCTP}).Draw(t, "proto")})
		}
		if rapid.Bool().Draw(t, "check") {
			s.Check = &catalog.Check{Kind: rapid.SampledFrom([]catalog.CheckKind{catalog.CheckGRPC, catalog.CheckHTTP, catalog.CheckTCP}).Draw(t, "kind"),
				Port: "p0", Path: "/x", Host: "h", Service: "s", Interval: time.Second, Timeout: 50 * time.Millisecond, HealthyThreshold: 1, UnhealthyThreshold: 10}
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "endpoints") {
			s.Endpoints = append(s.Endpoints, genEndpoint(i).Draw(t, "endpoint"))
		}
		return s
	})
}

func genCluster() *rapid.Generator[*catalog.Cluster] {
	return rapid.Custom(func(t *rapid.T) *catalog.Cluster {
		c := &catalog.Cluster{Name: genLabel().Draw(t, "a") + "." + genLabel().Draw(t, "b"), HealthTerm: rapid.Uint64().Draw(t, "term"),
			Confirmed:   catalog.HealthVersion{Epoch: rapid.Uint64().Draw(t, "e"), Seq: rapid.Uint64().Draw(t, "s")},
			SourceError: genText().Draw(t, "err"), StaleSince: genTime().Draw(t, "since")}
		for range rapid.IntRange(0, 3).Draw(t, "prefixes") {
			a := genAddr().Draw(t, "addr")
			c.Prefixes = append(c.Prefixes, catalog.ClientPrefix{Zone: "z",
				Prefix: netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits")).Masked()})
		}
		return c
	})
}

func genReplica() *rapid.Generator[*catalog.Replica] {
	return rapid.Custom(func(t *rapid.T) *catalog.Replica {
		return &catalog.Replica{Name: genLabel().Draw(t, "name"), Region: genLabel().Draw(t, "region"), Cluster: genLabel().Draw(t, "cluster"),
			DiskID: "0123abcd", PeerAddress: netip.AddrPortFrom(genAddr().Draw(t, "peer"), 7443).String(), GossipAddress: "host.example:7946",
			Recipient: "age1xyz", PublicKey: []byte{1, 2}, MinProtocol: 1, MaxProtocol: rapid.IntRange(1, 9).Draw(t, "max"),
			Build: genText().Draw(t, "build"), JoinedAt: genTime().Draw(t, "joined")}
	})
}

func genObject() *rapid.Generator[*catalog.Object] {
	return rapid.Custom(func(t *rapid.T) *catalog.Object {
		o := &catalog.Object{ObjectKey: catalog.ObjectKey{Kind: catalog.ObjectKind(genLabel().Draw(t, "kind")), Name: "shop/" + genLabel().Draw(t, "name")},
			Version: catalog.ObjectVersion{Generation: rapid.Uint64().Draw(t, "g"), HLC: rapid.Int64().Draw(t, "hlc"), Region: "eu"}, Actor: genText().Draw(t, "actor")}
		if o.Deleted = rapid.Bool().Draw(t, "deleted"); o.Deleted {
			o.Acks = rapid.SliceOfN(genLabel(), 1, 3).Draw(t, "acks")
		} else {
			o.Spec = json.RawMessage(`{"a":1}`)
		}
		return o
	})
}

func genRecord() *rapid.Generator[catalog.Record] {
	return rapid.Custom(func(t *rapid.T) catalog.Record {
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		case 0:
			return catalog.Record{Set: genSet().Draw(t, "set")}
		case 1:
			return catalog.Record{Health: &catalog.HealthTable{SetKey: genKey().Draw(t, "key"),
				Health: rapid.MapOfN(genLabel(), genHealth(), 1, 4).Draw(t, "health")}}
		case 2:
			return catalog.Record{Cluster: genCluster().Draw(t, "cluster")}
		case 3:
			return catalog.Record{Replica: genReplica().Draw(t, "replica")}
		case 4:
			return catalog.Record{Object: genObject().Draw(t, "object")}
		case 5:
			return catalog.Record{Region: &catalog.Region{Name: genLabel().Draw(t, "name"), Epoch: rapid.Uint64Min(1).Draw(t, "epoch"),
				Founder: strings.Repeat("ab", 32), Clusters: []string{"a", "a.b"}, Authority: true, Intermediate: []byte{3}, Since: genTime().Draw(t, "since")}}
		}
		return catalog.Record{Trust: &catalog.Trust{List: []byte(genText().Draw(t, "list") + "x")}}
	})
}

func TestEveryRecordSurvivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genRecord().Draw(t, "record")
		got, err := RecordFromPB(overWire(t, RecordToPB(&want)))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

func overWire[M proto.Message](t interface{ Fatal(...any) }, m M) M {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out := m.ProtoReflect().New().Interface().(M)
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEveryHealthDeltaSurvivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := catalog.HealthDelta{Cluster: genLabel().Draw(t, "cluster")}
		for range rapid.IntRange(1, 5).Draw(t, "n") {
			want.Changes = append(want.Changes, catalog.HealthChange{Service: genKey().Draw(t, "key").Service, Endpoint: "e 1",
				Health: genHealth().Draw(t, "h"), Version: catalog.HealthVersion{Epoch: 1, Term: 256, Seq: rapid.Uint64().Draw(t, "seq")}})
		}
		got, err := HealthDeltaFromPB(overWire(t, HealthDeltaToPB(want)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	})
}

func TestAViolationNamesItsField(t *testing.T) {
	aSet := func(change func(*pb.EndpointSet)) *pb.Record {
		r := set("web", 1)
		r.Set.Check = &catalog.Check{Kind: catalog.CheckTCP, Interval: time.Second, Timeout: time.Second, HealthyThreshold: 1, UnhealthyThreshold: 1}
		p := SetToPB(r.Set)
		change(p)
		return &pb.Record{Fact: &pb.Record_Set{Set: p}}
	}
	properties := func(change func(*pb.Properties)) *pb.Record {
		return aSet(func(s *pb.EndpointSet) { s.Properties = &pb.Properties{}; change(s.Properties) })
	}
	endpoint := func(change func(*pb.Endpoint)) *pb.Record {
		return aSet(func(s *pb.EndpointSet) { change(s.Endpoints[0]) })
	}
	aReplica := func(change func(*pb.Replica)) *pb.Record {
		p := &pb.Replica{Name: "r1", Region: "eu", Cluster: "c1", PeerAddress: "h:1", GossipAddress: "h:1"}
		change(p)
		return &pb.Record{Fact: &pb.Record_Replica{Replica: p}}
	}
	anObject := func(change func(*pb.Object)) *pb.Record {
		p := &pb.Object{Kind: "policy", Name: "default", Version: &pb.ObjectVersion{Region: "eu"}, Spec: []byte("{}")}
		change(p)
		return &pb.Record{Fact: &pb.Record_Object{Object: p}}
	}
	aCluster := func(p *pb.Cluster) *pb.Record { return &pb.Record{Fact: &pb.Record_Cluster{Cluster: p}} }
	for name, c := range map[string]struct {
		record *pb.Record
		field  string
	}{
		"empty record":       {&pb.Record{}, "record"},
		"nil fact":           {&pb.Record{Fact: &pb.Record_Set{}}, "set.cluster"},
		"cluster":            {aSet(func(s *pb.EndpointSet) { s.Cluster = "a.b.c" }), "set.cluster"},
		"no service":         {aSet(func(s *pb.EndpointSet) { s.Service = nil }), "set.service.namespace"},
		"source":             {aSet(func(s *pb.EndpointSet) { s.Source = "" }), "set.source"},
		"time":               {aSet(func(s *pb.EndpointSet) { s.CreatedAt = &timestamppb.Timestamp{Seconds: 1 << 60} }), "set.created_at"},
		"port number":        {aSet(func(s *pb.EndpointSet) { s.Ports[0].Number = 65536 }), "set.ports[0].number"},
		"protocol":           {aSet(func(s *pb.EndpointSet) { s.Ports[0].Protocol = 9 }), "set.ports[0].protocol"},
		"too many ports":     {aSet(func(s *pb.EndpointSet) { s.Ports = make([]*pb.Port, maxPorts+1) }), "set.ports"},
		"check kind":         {aSet(func(s *pb.EndpointSet) { s.Check.Kind = 0 }), "set.check.kind"},
		"check interval":     {aSet(func(s *pb.EndpointSet) { s.Check.Interval = durationpb.New(0) }), "set.check.interval"},
		"check timeout":      {aSet(func(s *pb.EndpointSet) { s.Check.Timeout = nil }), "set.check.timeout"},
		"check threshold":    {aSet(func(s *pb.EndpointSet) { s.Check.HealthyThreshold = 11 }), "set.check.healthy_threshold"},
		"too many endpoints": {aSet(func(s *pb.EndpointSet) { s.Endpoints = make([]*pb.Endpoint, maxEndpoints+1) }), "set.endpoints"},
		"affinity":           {aSet(func(s *pb.EndpointSet) { s.AffinitySeconds = 86401 }), "set.affinity_seconds"},
		"no key":             {properties(func(p *pb.Properties) { p.Labels = map[string]string{"a b": "c"} }), "set.properties"},
		"no label":           {properties(func(p *pb.Properties) { p.Labels = map[string]string{"a": "b c"} }), "set.properties"},
		"escape in text":     {properties(func(p *pb.Properties) { p.Annotations = map[string]string{"a": "\x1b[2J"} }), "set.properties"},
		"properties' size":   {properties(func(p *pb.Properties) { p.Annotations = map[string]string{"a": strings.Repeat("x", 4096)} }), "set.properties"},
		"distribution":       {properties(func(p *pb.Properties) { p.TrafficDistribution = "\n" }), "set.properties"},
		"id twice":           {aSet(func(s *pb.EndpointSet) { s.Endpoints = append(s.Endpoints, s.Endpoints[0]) }), "set.endpoints[1].id"},
		"no id":              {endpoint(func(e *pb.Endpoint) { e.Id = "" }), "set.endpoints[0].id"},
		"escape in id":       {endpoint(func(e *pb.Endpoint) { e.Id = "\x1b[2J" }), "set.endpoints[0].id"},
		"long id":            {endpoint(func(e *pb.Endpoint) { e.Id = strings.Repeat("x", maxName+1) }), "set.endpoints[0].id"},
		"weight 0":           {endpoint(func(e *pb.Endpoint) { e.Weight = 0 }), "set.endpoints[0].weight"},
		"weight 65536":       {endpoint(func(e *pb.Endpoint) { e.Weight = 65536 }), "set.endpoints[0].weight"},
		"health 0":           {endpoint(func(e *pb.Endpoint) { e.Health = 0 }), "set.endpoints[0].health"},
		"health 6":           {endpoint(func(e *pb.Endpoint) { e.Health = 6 }), "set.endpoints[0].health"},
		"zone":               {endpoint(func(e *pb.Endpoint) { e.Zone = "A" }), "set.endpoints[0].zone"},
		"hostname":           {endpoint(func(e *pb.Endpoint) { e.Hostname = "a.b" }), "set.endpoints[0].hostname"},
		"endpoint port":      {endpoint(func(e *pb.Endpoint) { e.Ports = map[string]uint32{"http": 0} }), "set.endpoints[0].ports"},
		"short address":      {endpoint(func(e *pb.Endpoint) { e.Address = []byte{1} }), "set.endpoints[0].address"},
		"unspecified":        {endpoint(func(e *pb.Endpoint) { e.Address = make([]byte, 4) }), "set.endpoints[0].address"},
		"multicast":          {endpoint(func(e *pb.Endpoint) { e.Address = []byte{224, 0, 0, 1} }), "set.endpoints[0].address"},
		"broadcast":          {endpoint(func(e *pb.Endpoint) { e.Address = []byte{255, 255, 255, 255} }), "set.endpoints[0].address"},
		"mapped IPv4": {endpoint(func(e *pb.Endpoint) {
			e.Address = netip.MustParseAddr("::ffff:10.0.0.1").AsSlice()
		}), "set.endpoints[0].address"},
		"health table": {&pb.Record{Fact: &pb.Record_Health{Health: &pb.HealthTable{Cluster: "c",
			Service: &pb.ServiceName{Namespace: "a", Name: "b"}, Health: map[string]pb.Health{"e": 77}}}}, "health.health"},
		"prefix bits":     {aCluster(&pb.Cluster{Name: "c", Prefixes: []*pb.ClientPrefix{{Address: []byte{10, 0, 0, 1}, Length: 8}}}), "cluster.prefixes[0].address"},
		"prefix length":   {aCluster(&pb.Cluster{Name: "c", Prefixes: []*pb.ClientPrefix{{Address: []byte{10, 0, 0, 0}, Length: 33}}}), "cluster.prefixes[0].length"},
		"peer address":    {aReplica(func(r *pb.Replica) { r.PeerAddress = "nowhere" }), "replica.peer_address"},
		"gossip port":     {aReplica(func(r *pb.Replica) { r.GossipAddress = "h:0" }), "replica.gossip_address"},
		"protocols":       {aReplica(func(r *pb.Replica) { r.MinProtocol = 3 }), "replica.max_protocol"},
		"public key":      {aReplica(func(r *pb.Replica) { r.PublicKey = make([]byte, maxDERBytes+1) }), "replica.public_key"},
		"spec not JSON":   {anObject(func(o *pb.Object) { o.Spec = []byte("{") }), "object.spec"},
		"spec too large":  {anObject(func(o *pb.Object) { o.Spec = make([]byte, maxSpecBytes+1) }), "object.spec"},
		"object kind":     {anObject(func(o *pb.Object) { o.Kind = "Policy/x" }), "object.kind"},
		"object region":   {anObject(func(o *pb.Object) { o.Version = nil }), "object.version.region"},
		"acks":            {anObject(func(o *pb.Object) { o.Acks = []string{""} }), "object.acks"},
		"region epoch":    {&pb.Record{Fact: &pb.Record_Region{Region: &pb.Region{Name: "eu"}}}, "region.epoch"},
		"region founder":  {&pb.Record{Fact: &pb.Record_Region{Region: &pb.Region{Name: "eu", Epoch: 1, Founder: "zz"}}}, "region.founder"},
		"trust too large": {&pb.Record{Fact: &pb.Record_Trust{Trust: &pb.Trust{List: make([]byte, maxListBytes+1)}}}, "trust.list"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := RecordFromPB(c.record)
			var fe *FieldError
			if !errors.As(err, &fe) || fe.Field != c.field {
				t.Fatalf("got %v, want an error about %s", err, c.field)
			}
		})
	}
}

func TestADeltaIsHeldToItsRegionAndItsKeys(t *testing.T) {
	web := set("web", 1)
	ok := catalog.Delta{Region: "eu", Version: catalog.Version{Epoch: 1, Seq: 2}, Upserts: []catalog.Record{web}}
	if _, err := DeltaFromPB("eu", DeltaToPB(ok)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*catalog.Delta){
		"region":  func(d *catalog.Delta) { d.Region = "us" },
		"version": func(d *catalog.Delta) { d.Version.Epoch = 0 },
		"twice":   func(d *catalog.Delta) { d.Upserts = append(d.Upserts, web) },
		"both":    func(d *catalog.Delta) { d.Deletes = []catalog.RecordKey{web.Key()} },
		"key":     func(d *catalog.Delta) { d.Deletes = []catalog.RecordKey{""} },
		"replica of another region": func(d *catalog.Delta) {
			d.Upserts = []catalog.Record{{Replica: &catalog.Replica{Name: "r", Region: "us", Cluster: "c", PeerAddress: "h:1", GossipAddress: "h:1"}}}
		},
	} {
		d := ok
		change(&d)
		if _, err := DeltaFromPB("eu", DeltaToPB(d)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTextsForPeopleAreMadePrintableBeforeTheyTravel(t *testing.T) {
	c := &catalog.Cluster{Name: "c1", SourceError: "dial: \x1b[31m\nrefused \xff" + strings.Repeat("ä", maxText)}
	r, err := RecordFromPB(RecordToPB(&catalog.Record{Cluster: c}))
	if err != nil || !strings.HasPrefix(r.Cluster.SourceError, "dial:  [31m refused ?ä") {
		t.Fatalf("got %+v, %v", r.Cluster, err)
	}
}

func FuzzRecordFromPB(f *testing.F) {
	for _, r := range []catalog.Record{set("web", 1), {Trust: &catalog.Trust{List: []byte("x")}}} {
		b, _ := proto.Marshal(RecordToPB(&r))
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p pb.Record
		if proto.Unmarshal(b, &p) != nil {
			return
		}
		r, err := RecordFromPB(&p)
		if err != nil {
			return
		}
		again, err := RecordFromPB(overWire(t, RecordToPB(&r)))
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("accepted %+v, but as it travels on %+v, %v", r, again, err)
		}
	})
}
