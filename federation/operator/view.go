package operator

import (
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/replication"
)

// view is what this replica knows, read at one moment. What is built from it is
// a pure function.
type view struct {
	now         time.Time
	self        catalog.Replica
	pods        Pods // zero where it runs in none
	trustDomain string
	zone        string
	dns         bool
	started     time.Time
	waitingFor  []string

	about     state.About
	common    int // protocol
	stats     state.Stats
	health    []error
	conflicts map[catalog.ObjectKey][]state.Overwritten
	refused   []state.RefusedObject
	secrets   []state.Secret
	locked    map[string]error
	cacheErr  error

	cond     *catalog.Conditions
	services []*catalog.Service
	refusals []catalog.Refusal // by service and cluster
	objects  []*catalog.Object
	policies []catalog.PolicyStanding // of clusters
	regions  []*regionView            // by name
	clusters []clusterView            // by region and name
	members  []memberView             // by region and name
	drills   []catalog.DrillView      // oldest first
	gates    map[string]catalog.Gate
	known    []string // the regions that are members
	imports  *Imports // nil where there is no Kubernetes cluster
	rights   []MissingRight

	renewal identity.RenewerState
	// unattested says why pods get no certificates, and since when.
	unattested      error
	unattestedSince time.Time
	chain           []*x509.Certificate
	trust           identity.List
	trusted         uint64 // sequence of the list that the authority region publishes
}

// regionView is one region.
type regionView struct {
	name      string
	own       bool
	authority bool
	record    *catalog.Region // nil if the registry does not list it
	version   catalog.Version
	reach     catalog.Reach
	since     time.Time
	link      *replication.LinkStatus
	heard     time.Time // the last evidence of any kind; zero if never
	alive     int
	replicas  int
	builds    []string
	rtt       time.Duration
	clusters  int
	services  int
	endpoints int
	answering int // endpoints that are healthy or degraded
}

func (r *regionView) removed() bool {
	return r.record != nil && r.record.Removed && r.version.Epoch <= r.record.Epoch
}

// clusterView is one source of services.
type clusterView struct {
	catalog.Cluster
	region    string
	services  int
	endpoints int
	unhealthy int
	refused   int // services that export rules refuse
}

// memberView is one replica, this one included.
type memberView struct {
	catalog.Replica
	gossip.Member
	self  bool
	state string // alive, suspect, dead or unknown
	role  string // leader, voter, standby or unknown
}

// look reads everything there is to know now.
func (s *Server) look() *view {
	v := &view{
		now: s.Now(), self: s.Self, pods: s.Pods, trustDomain: s.TrustDomain, zone: s.Zone, dns: s.DNS,
		started: s.Started, waitingFor: s.WaitingFor(),
		stats: s.Raft.Stats(), health: s.Raft.Health(), cacheErr: s.CacheError(),
		cond: s.Catalog.Conditions(), services: s.Catalog.Services(), refusals: s.Catalog.Refusals(), objects: s.objects(), policies: s.Catalog.ClusterPolicies(),
		drills: s.Catalog.Drills(), gates: s.Catalog.Gates(), known: s.knownRegions(),
		renewal: s.Renewal(), trust: s.Trust.List(),
	}
	if s.Imports != nil {
		v.imports = new(s.Imports())
	}
	if s.Attesting != nil {
		v.unattestedSince, v.unattested = s.Attesting()
	}
	if s.MissingRights != nil {
		v.rights = s.MissingRights()
	}
	foreign := s.foreign()
	s.Raft.Read(func(st *state.State) {
		v.about, v.common = st.About(), st.CommonProtocol()
		v.conflicts, v.secrets = st.Conflicts(), st.Secrets()
		_, v.refused = st.Adoptable(foreign, nil, v.now)
	})
	v.locked = map[string]error{}
	for _, secret := range v.secrets {
		v.locked[secret.Name] = s.LockedOut(secret.Name)
	}
	for _, der := range s.Chain() {
		if c, err := identity.ParseCertificate(der); err == nil {
			v.chain = append(v.chain, c)
		}
	}
	s.Catalog.Records(s.Authority, catalog.RecordTrust, func(rec *catalog.Record) bool {
		if list, err := identity.ReadList(rec.Trust.List); err == nil {
			v.trusted = list.Sequence
		}
		return true
	})
	v.members = s.members(v.stats)
	s.lookAtRegions(v)
	v.count()
	return v
}

// foreign returns what the other regions hold of the last-writer-wins objects.
func (s *Server) foreign() (out []catalog.Object) {
	for _, region := range s.knownRegions() {
		if region == s.Self.Region {
			continue
		}
		s.Catalog.Records(region, catalog.RecordObject, func(rec *catalog.Record) bool {
			out = append(out, *rec.Object)
			return true
		})
	}
	return out
}

// registry returns the entries of the region registry, by name.
func (s *Server) registry() map[string]*catalog.Region {
	out := map[string]*catalog.Region{}
	s.Catalog.Records(s.Authority, catalog.RecordRegion, func(rec *catalog.Record) bool {
		out[rec.Region.Name] = rec.Region
		return true
	})
	return out
}

// lookAtRegions fills in every region that anything is known of.
func (s *Server) lookAtRegions(v *view) {
	registry := s.registry()
	links := map[string]*replication.LinkStatus{}
	for _, l := range s.Links() {
		links[l.Region] = &l
	}
	names := map[string]bool{s.Self.Region: true, s.Authority: true}
	for _, name := range s.Catalog.Known() {
		names[name] = true
	}
	for name := range registry {
		names[name] = true
	}
	for name := range links {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		r := &regionView{
			name: name, own: name == s.Self.Region, authority: name == s.Authority,
			record: registry[name], version: s.Catalog.Version(name), reach: v.cond.Reach[name],
			since: s.ReachSince(name), link: links[name], rtt: v.cond.RTT[name],
		}
		if r.own {
			r.version = v.stats.Version
		}
		v.regions = append(v.regions, r)
		v.noteMembers(r)
		s.Catalog.Records(name, catalog.RecordCluster, func(rec *catalog.Record) bool {
			v.clusters = append(v.clusters, clusterView{Cluster: *rec.Cluster, region: name})
			r.clusters++
			return true
		})
	}
}

// noteMembers counts the replicas of a region and finds its last sign of life.
func (v *view) noteMembers(r *regionView) {
	if r.link != nil {
		r.heard = r.link.LastEvent
	}
	for i := range v.members {
		m := &v.members[i]
		if m.Replica.Region != r.name {
			continue
		}
		r.replicas++
		if m.state == "alive" {
			r.alive++
		}
		if m.LastEvidence.After(r.heard) {
			r.heard = m.LastEvidence
		}
		if m.Build != "" && !slices.Contains(r.builds, m.Build) {
			r.builds = append(r.builds, m.Build)
		}
	}
}

// count adds up services and endpoints by region and cluster.
func (v *view) count() {
	regions := map[string]*regionView{}
	for _, r := range v.regions {
		regions[r.name] = r
	}
	clusters := map[string]*clusterView{}
	for i := range v.clusters {
		clusters[v.clusters[i].region+"/"+v.clusters[i].Name] = &v.clusters[i]
	}
	for _, r := range v.refusals {
		if c := clusters[r.Region+"/"+r.Cluster]; c != nil {
			c.refused++
		}
	}
	for _, s := range v.services {
		last := ""
		for i := range s.Backends {
			b := &s.Backends[i]
			r, c := regions[b.Region], clusters[b.Region+"/"+b.Set.Cluster]
			if r != nil && b.Region != last { // backends are ordered by region
				r.services++
				last = b.Region
			}
			for _, h := range b.Health {
				if r != nil {
					r.endpoints++
				}
				if r != nil && answers(h) {
					r.answering++
				}
				if c != nil && h == catalog.Unhealthy {
					c.unhealthy++
				}
			}
			if c != nil {
				c.services++
				c.endpoints += len(b.Health)
			}
		}
	}
}

// answers reports whether an endpoint with that health serves someone.
func answers(h catalog.Health) bool { return h == catalog.Healthy || h == catalog.Degraded }

// region returns what is known of a region, or nil.
func (v *view) region(name string) *regionView {
	for _, r := range v.regions {
		if r.name == name {
			return r
		}
	}
	return nil
}

// nameOf returns the replica's name in a Raft server id.
func nameOf(raftID string) string {
	name, _, _ := strings.Cut(raftID, ".")
	return name
}

// knownRegions returns the names of the regions that are members, in order.
func (s *Server) knownRegions() []string {
	names := map[string]bool{s.Self.Region: true, s.Authority: true}
	for _, name := range s.Catalog.Known() {
		names[name] = true
	}
	for name, r := range s.registry() {
		if r.Removed && s.Catalog.Version(name).Epoch <= r.Epoch {
			delete(names, name)
		} else {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
