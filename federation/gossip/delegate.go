package gossip

import (
	"fmt"
	"net/netip"

	"github.com/hashicorp/memberlist"

	"github.com/federator/federator/federation/catalog"
)

// delegate is what memberlist calls back. memberlist holds locks meanwhile, so
// nothing here calls memberlist.
//
// There is no merge delegate: memberlist passes it unchecked versions, and every
// node that it would be asked about passes NotifyAlive anyway.
type delegate struct{ g *Gossip }

var (
	_ memberlist.Delegate         = delegate{}
	_ memberlist.EventDelegate    = delegate{}
	_ memberlist.AliveDelegate    = delegate{}
	_ memberlist.ConflictDelegate = delegate{}
)

// NodeMeta implements memberlist.Delegate: where our streams are accepted.
func (d delegate) NodeMeta(limit int) []byte {
	meta := appendText([]byte{wireVersion}, d.g.cfg.PeerAddress)
	if len(meta) > limit {
		return nil
	}
	return meta
}

func decodeMeta(b []byte) (peerAddress string, err error) {
	r := reader{rest: b}
	if r.byte() != wireVersion {
		return "", errUndecodable
	}
	peerAddress = r.text()
	return peerAddress, r.done()
}

// NotifyMsg implements memberlist.Delegate.
func (d delegate) NotifyMsg(b []byte) { d.g.receive(b) }

// GetBroadcasts implements memberlist.Delegate.
func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.g.outbox.queue.GetBroadcasts(overhead, limit)
}

// LocalState implements memberlist.Delegate: digests only.
func (d delegate) LocalState(bool) []byte {
	d.g.metrics.message("out", "digests")
	return encodeDigests(d.g.self, d.g.cfg.Digest())
}

// MergeRemoteState implements memberlist.Delegate: what differs is asked for.
func (d delegate) MergeRemoteState(b []byte, _ bool) {
	from, theirs, err := decodeDigests(b)
	if err != nil {
		d.g.metrics.drop(dropUndecodable)
		return
	}
	d.g.metrics.message("in", "digests")
	own := map[string]catalog.HealthDigest{}
	for _, digest := range d.g.cfg.Digest() {
		own[digest.Cluster] = digest
	}
	for _, digest := range theirs {
		if differs(own[digest.Cluster], digest) {
			d.g.puller.want(from, digest.Cluster)
		}
	}
}

// differs reports whether a peer may hold changes that we need: other pending
// ones, and not all of them confirmed here already.
func differs(own, theirs catalog.HealthDigest) bool {
	return own.Hash != theirs.Hash && theirs.Highest.Compare(own.Confirmed) > 0
}

// NotifyAlive implements memberlist.AliveDelegate: it refuses nodes that are no
// replicas of ours.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	t, err := nodeTarget(n)
	if err != nil {
		return err
	}
	return d.g.cfg.Allowed(t.Region, t.Name)
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (d delegate) NotifyConflict(existing, other *memberlist.Node) {
	d.g.log.Warn("two replicas claim one name: remove one of them, or wait if it has just moved",
		"replica", existing.Name, "known", existing.Address(), "other", other.Address())
}

// NotifyJoin implements memberlist.EventDelegate.
func (d delegate) NotifyJoin(n *memberlist.Node) {
	if t, err := nodeTarget(n); err == nil {
		d.g.directory.setMember(t)
	}
}

// NotifyUpdate implements memberlist.EventDelegate.
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.NotifyJoin(n) }

// NotifyLeave implements memberlist.EventDelegate.
func (d delegate) NotifyLeave(n *memberlist.Node) {
	if name, err := parseNodeName(n.Name); err == nil {
		d.g.directory.dropMember(name)
	}
}

// nodeTarget reads a replica out of a memberlist node.
func nodeTarget(n *memberlist.Node) (target, error) {
	name, err := parseNodeName(n.Name)
	if err != nil {
		return target{}, err
	}
	ip, ok := netip.AddrFromSlice(n.Addr)
	ip = ip.Unmap()
	if !ok || ip.IsUnspecified() || ip.IsMulticast() || n.Port == 0 {
		return target{}, fmt.Errorf("node %s: expected a unicast address and a port, found %s", n.Name, n.Address())
	}
	tcp, err := decodeMeta(n.Meta)
	if err != nil {
		return target{}, fmt.Errorf("node %s: meta: %w", n.Name, err)
	}
	return target{NodeName: name, UDP: netip.AddrPortFrom(ip, n.Port), TCP: tcp}, nil
}
