package imports

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/federator/federator/federation/catalog"
)

// Knowledge is how much a replica knows. Take it before the service is read, so
// that it never claims more than the plan is made from. Values are immutable.
type Knowledge struct {
	// Federation identifies the trust domain from its founding on. Objects of
	// another one, as after everything was set up anew, cannot be compared.
	Federation string
	// Regions is the known version of every region, Health the newest known health
	// of every cluster.
	Regions map[string]catalog.Version
	Health  map[string]catalog.HealthVersion
	// Removed reports whether a region was removed from the federation for good; nil:
	// none was.
	Removed func(region string) bool
}

func (k *Knowledge) removed(region string) bool { return k.Removed != nil && k.Removed(region) }

// Point is what of one cluster an object was planned from: the version of its
// region's records and of its health.
type Point struct {
	Region  string
	Catalog catalog.Version
	Health  catalog.HealthVersion
	// Gone: the cluster no longer exported the service.
	Gone bool
}

// Origin is what an object was planned from, cluster by cluster. Clusters that
// stopped exporting stay in it, so that a writer who has not heard of that does
// not bring them back.
type Origin struct {
	Federation string
	Points     map[string]Point
}

// String returns the compact form that annotations hold: the federation or "-",
// then, ordered by cluster, "cluster=region@epoch.seq/epoch.term.seq", with a "!"
// behind it if the cluster is gone.
func (o Origin) String() string {
	var b strings.Builder
	if b.WriteString(o.Federation); o.Federation == "" {
		b.WriteByte('-')
	}
	for _, cluster := range slices.Sorted(maps.Keys(o.Points)) {
		p := o.Points[cluster]
		fmt.Fprintf(&b, " %s=%s@%s/%s", cluster, p.Region, p.Catalog, p.Health)
		if p.Gone {
			b.WriteByte('!')
		}
	}
	return b.String()
}

// ParseOrigin reads what [Origin.String] wrote.
func ParseOrigin(s string) (Origin, error) {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return Origin{}, fmt.Errorf("origin %q: expected FEDERATION CLUSTER=REGION@VERSION/HEALTH…", s)
	}
	o := Origin{Points: make(map[string]Point, len(fields)-1)}
	if fields[0] != "-" {
		o.Federation = fields[0]
	}
	for _, f := range fields[1:] {
		cluster, rest, ok := strings.Cut(f, "=")
		var p Point
		p.Region, rest, _ = strings.Cut(rest, "@")
		rest, p.Gone = strings.CutSuffix(rest, "!")
		if !ok || !scan(rest, "./..", &p.Catalog.Epoch, &p.Catalog.Seq, &p.Health.Epoch, &p.Health.Term, &p.Health.Seq) {
			return Origin{}, fmt.Errorf("origin %q: expected CLUSTER=REGION@EPOCH.SEQ/EPOCH.TERM.SEQ, found %q", s, f)
		}
		o.Points[cluster] = p
	}
	return o, nil
}

// scan reads numbers with the letters of between in between.
func scan(s, between string, to ...*uint64) bool {
	for i := range to {
		number := s
		if i < len(between) {
			var ok bool
			if number, s, ok = strings.Cut(s, between[i:i+1]); !ok {
				return false
			}
		}
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return false
		}
		*to[i] = n
	}
	return true
}

// point is what is known of a cluster of a region now.
func (k *Knowledge) point(region, cluster string) Point {
	return Point{Region: region, Catalog: k.Regions[region], Health: k.Health[cluster]}
}

// origin is that of an object planned now from these backends, as the successor of
// an object planned from have.
func (k *Knowledge) origin(backends []catalog.Backend, have Origin) Origin {
	o := Origin{Federation: k.Federation, Points: make(map[string]Point, len(backends))}
	if have.Federation == k.Federation {
		for cluster, p := range have.Points {
			if k.removed(p.Region) {
				continue
			}
			was := k.point(p.Region, cluster)
			was.Gone = true
			o.Points[cluster] = was
		}
	}
	for i := range backends {
		b := &backends[i]
		o.Points[b.Set.Cluster] = k.point(b.Region, b.Set.Cluster)
	}
	return o
}

// behind returns the first cluster of which the object was planned from more than is known
// now, "" if there is none.
func (k *Knowledge) behind(have Origin) string {
	if have.Federation != k.Federation {
		return ""
	}
	first := ""
	for cluster, p := range have.Points {
		if k.lacks(cluster, p) && (first == "" || cluster < first) {
			first = cluster
		}
	}
	return first
}

// lacks reports whether the point is ahead of what is known.
func (k *Knowledge) lacks(cluster string, p Point) bool {
	if k.removed(p.Region) {
		return false
	}
	now := k.point(p.Region, cluster)
	switch c := p.Catalog.Compare(now.Catalog); {
	case c != 0:
		return c > 0
	default:
		return p.Health.Compare(now.Health) > 0
	}
}

// sameMembers reports whether both origins name the same clusters as exporting and
// as gone.
func sameMembers(a, b Origin) bool {
	return a.Federation == b.Federation && maps.EqualFunc(a.Points, b.Points, func(p, q Point) bool {
		return p.Region == q.Region && p.Gone == q.Gone
	})
}

// originOf reads the origin of an object. One that cannot be read is as if there
// were none: the label says that the object is ours.
func originOf(annotations map[string]string) Origin {
	o, err := ParseOrigin(annotations[AnnotationOrigin])
	if err != nil {
		return Origin{}
	}
	return o
}
