package catalog

// Exposes returns which of the set's ports is a port of its service, as the set names
// it; false if the cluster does not expose it. Traffic to a port goes to exporters
// that expose it alone (KEP-1645), and which those are follows from how ports are
// united, by name and then by protocol and number: a cluster exposes a port if it
// has one of its protocol and number, whatever it calls it. One that has another
// protocol or number under the port's name has lost the conflict over it.
func (s *EndpointSet) Exposes(p Port) (Port, bool) {
	var found Port
	ok := false
	for _, have := range s.Ports {
		if have.Protocol != p.Protocol || have.Number != p.Number {
			continue
		}
		if have.Name == p.Name {
			return have, true
		}
		if !ok {
			found, ok = have, true
		}
	}
	return found, ok
}
