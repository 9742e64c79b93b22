package gossip

import (
	"slices"

	"github.com/federator/federator/federation/catalog"
)

const (
	// smallFederation: up to so many peers all get a new flip at once; in a larger
	// one, originFanout of them do and gossip does the rest.
	smallFederation = 32
	originFanout    = 16
	// relayFanout is how many peers a replica hands on to what was news to it.
	relayFanout = 3
)

// BroadcastHealth spreads flips that this replica's catalog already holds: at
// once to many peers, then with gossip until all had the chance to hear. With
// too many flips of the cluster under way it spreads a resync instead.
func (g *Gossip) BroadcastHealth(d catalog.HealthDelta) {
	fanout := originFanout
	if n := len(g.directory.all()); n <= smallFederation {
		fanout = n
	}
	g.spread(d, fanout)
}

// BroadcastResync tells every replica to ask for the pending changes of a
// cluster, beginning with this replica.
func (g *Gossip) BroadcastResync(cluster string, version catalog.HealthVersion) {
	m := resync{Cluster: cluster, Version: version, Origin: g.self}
	if catalog.ValidateCluster(cluster) != nil || !g.puller.announce(m) {
		return
	}
	g.spreadResync(m, originFanout)
}

func (g *Gossip) spread(d catalog.HealthDelta, fanout int) {
	if len(d.Changes) == 0 {
		return
	}
	if g.outbox.full(d.Cluster, len(d.Changes)) {
		g.BroadcastResync(d.Cluster, newest(d.Changes))
		return
	}
	messages, refused := encodeDelta(d, maxPacketMessage)
	if refused > 0 {
		g.metrics.drop(dropUndecodable)
		g.log.Warn("health changes cannot be gossiped: expected DNS-label names and endpoint ids of 1 to 255 printable bytes",
			"cluster", d.Cluster, "count", refused)
	}
	for _, c := range d.Changes {
		g.outbox.change(d.Cluster, c)
	}
	g.sendNow(messages, fanout, "delta")
}

func (g *Gossip) spreadResync(m resync, fanout int) {
	g.outbox.resync(m)
	g.sendNow([][]byte{encodeResync(m)}, fanout, "resync")
}

// sendNow sends messages to some peers without waiting for gossip's next turn.
func (g *Gossip) sendNow(messages [][]byte, fanout int, kind string) {
	list := g.list.Load()
	if list == nil {
		return
	}
	for _, t := range g.choose(fanout) {
		for _, m := range messages {
			if err := list.SendToAddress(t.address(), m); err != nil {
				g.log.Debug("gossip message not sent", "peer", t.NodeName.String(), "error", err)
				break
			}
			g.metrics.message("out", kind)
		}
	}
}

// choose returns up to n different peers at random.
func (g *Gossip) choose(n int) []target {
	all := slices.DeleteFunc(g.permitted(), func(t target) bool { return !t.UDP.IsValid() })
	if n >= len(all) {
		return all
	}
	for i := range n {
		j := i + int(g.cfg.Rand()%uint64(len(all)-i))
		all[i], all[j] = all[j], all[i]
	}
	return all[:n]
}

// apply merges changes from elsewhere and passes on what was news.
func (g *Gossip) apply(d catalog.HealthDelta) {
	if fresh := g.cfg.ApplyHealth(d); len(fresh) > 0 {
		g.spread(catalog.HealthDelta{Cluster: d.Cluster, Changes: fresh}, relayFanout)
	}
}

// receive takes in a user message.
func (g *Gossip) receive(b []byte) {
	if len(b) < 2 || len(b) > maxPacketMessage {
		g.metrics.drop(dropUndecodable)
		return
	}
	switch b[1] {
	case kindDelta:
		d, err := decodeDelta(b)
		if err != nil {
			g.metrics.drop(dropUndecodable)
			return
		}
		g.metrics.message("in", "delta")
		g.apply(d)
	case kindResync:
		m, err := decodeResync(b)
		if err != nil {
			g.metrics.drop(dropUndecodable)
			return
		}
		g.metrics.message("in", "resync")
		if g.puller.announce(m) {
			g.puller.want(m.Origin, m.Cluster)
			g.spreadResync(m, relayFanout)
		}
	default:
		g.metrics.drop(dropUndecodable)
	}
}

func newest(changes []catalog.HealthChange) catalog.HealthVersion {
	var v catalog.HealthVersion
	for _, c := range changes {
		if c.Version.Compare(v) > 0 {
			v = c.Version
		}
	}
	return v
}
