package gossip

import (
	"sync"

	"github.com/hashicorp/memberlist"

	"github.com/federator/federator/federation/catalog"
)

// maxQueued is how many changes of one cluster gossip carries at once. Beyond
// it, it says "resync this cluster" instead.
const maxQueued = 500

// outbox holds what is to be passed on with memberlist's gossip. A newer change
// of an endpoint takes the place of an older one.
type outbox struct {
	queue memberlist.TransmitLimitedQueue

	mu     sync.Mutex
	queued map[string]int // changes by cluster
}

func newOutbox(members func() int) *outbox {
	return &outbox{
		queue:  memberlist.TransmitLimitedQueue{NumNodes: members, RetransmitMult: 3},
		queued: map[string]int{},
	}
}

// full reports that n more changes of the cluster would be too many.
func (o *outbox) full(cluster string, n int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queued[cluster]+n > maxQueued
}

// pending is how many changes wait, of all clusters.
func (o *outbox) pending() float64 { return float64(o.queue.NumQueued()) }

// change queues one change.
func (o *outbox) change(cluster string, c catalog.HealthChange) {
	one, _ := encodeDelta(catalog.HealthDelta{Cluster: cluster, Changes: []catalog.HealthChange{c}}, maxPacketMessage)
	if len(one) != 1 {
		return
	}
	o.add(cluster, 1)
	o.queue.QueueBroadcast(&broadcast{
		name:     "change/" + cluster + "/" + c.Service.String() + "/" + c.Endpoint,
		message:  one[0],
		finished: func() { o.add(cluster, -1) },
	})
}

// resync queues the word that a cluster is to be asked for.
func (o *outbox) resync(m resync) {
	o.queue.QueueBroadcast(&broadcast{name: "resync/" + m.Cluster, message: encodeResync(m), finished: func() {}})
}

func (o *outbox) add(cluster string, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queued[cluster] += n
	if o.queued[cluster] <= 0 {
		delete(o.queued, cluster)
	}
}

// broadcast is a memberlist.NamedBroadcast: a later one of the same name
// replaces it.
type broadcast struct {
	name     string
	message  []byte
	finished func()
}

var _ memberlist.NamedBroadcast = (*broadcast)(nil)

// Invalidates implements memberlist.Broadcast.
func (b *broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(*broadcast)
	return ok && o.name == b.name
}

// Name implements memberlist.NamedBroadcast.
func (b *broadcast) Name() string { return b.name }

// Message implements memberlist.Broadcast.
func (b *broadcast) Message() []byte { return b.message }

// Finished implements memberlist.Broadcast.
func (b *broadcast) Finished() { b.finished() }
