package imports

import (
	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

const (
	// hintShare is how much of a zone's traffic must stay in it for hints to be a
	// true picture: a hint cannot say "and 30 % elsewhere".
	hintShare = unit / 100 * 99
	// overload is how much more than its part the endpoints of a zone may get, in
	// percent: what Kubernetes itself allows for topology hints.
	overload = 120
)

// addHints gives the members zone hints if every zone of the cluster can be left to
// itself, else none: all endpoints have hints or none do, as kube-proxy ignores
// them otherwise. Only then: all ready members are in this region, in known zones
// where the cluster has nodes; the resolution keeps the clients of every such zone
// in it; and no zone has so few endpoints for its nodes that they would get more
// than [overload] percent of their part.
func addHints(in *Input, service *catalog.Service, members []member) {
	if len(in.Zones) < 2 || !inZones(in, members) || !balancedZones(in.Zones, members) {
		return
	}
	for zone := range in.Zones {
		if !staysHome(in, service, zone) {
			return
		}
	}
	for i := range members {
		if zone := members[i].Zone; members[i].region == in.Region && in.Zones[zone] > 0 {
			members[i].hints = []string{zone}
		}
	}
}

// inZones reports whether all ready members are in zones of the cluster.
func inZones(in *Input, members []member) bool {
	for i := range members {
		if m := &members[i]; m.ready && (m.region != in.Region || in.Zones[m.Zone] == 0) {
			return false
		}
	}
	return true
}

// balancedZones reports whether every zone has endpoints enough for its nodes.
func balancedZones(zones map[string]int, members []member) bool {
	counts, ready, nodes := map[string]int{}, 0, 0
	for i := range members {
		if members[i].ready {
			counts[members[i].Zone]++
			ready++
		}
	}
	for _, n := range zones {
		nodes += n
	}
	for zone, n := range zones {
		if counts[zone]*nodes*overload < n*ready*100 || counts[zone] == 0 {
			return false
		}
	}
	return true
}

// staysHome reports whether clients in a zone of this region are served there.
func staysHome(in *Input, service *catalog.Service, zone string) bool {
	res := locality.Resolve(locality.Input{
		Service: service, Conditions: in.Conditions, Ramp: in.Ramp,
		Client: catalog.Locality{Region: in.Region, Zone: zone},
	})
	for i := range res.Priorities {
		for j := range res.Priorities[i].Localities {
			l := &res.Priorities[i].Localities[j]
			if l.Region == in.Region && l.Zone == zone {
				return l.Weight >= hintShare
			}
		}
	}
	return false
}
