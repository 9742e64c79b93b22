package federation

import (
	"bytes"
	"context"
	"crypto/tls"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/port"
)

const (
	// announceEvery is how often a replica tells the leader how far it is.
	announceEvery = 300 * time.Millisecond
	// announceValid is how long its word counts.
	announceValid = 3 * time.Second
)

// progress is how far a sibling said it has applied the log, and when.
type progress struct {
	index uint64
	at    time.Time
}

// announce tells the leader how far this replica is, as long as it runs.
func (r *Replica) announce(ctx context.Context) error {
	unknown := false
	for sleep(ctx, announceEvery) {
		leader, ok := r.node.Leader()
		if leader == r.card.Replica.RaftID() {
			unknown = false
		}
		for _, s := range r.siblings() {
			// Without a leader anybody may know that this replica was removed.
			if ok && s.RaftID() != leader { // also if this replica leads
				continue
			}
			was := unknown
			unknown = r.announceTo(ctx, s, was)
			if unknown && !was {
				r.log.Error("the region no longer knows this replica; to bring it back, empty its data directory and join with a new token", "peer", s.Name)
			}
		}
		r.mu.Lock()
		r.unknown = unknown
		r.mu.Unlock()
	}
	return nil
}

// announceTo makes one announcement, and reports whether the leader does not know
// this replica; last is what it was before, should the leader not answer.
func (r *Replica) announceTo(ctx context.Context, leader catalog.Replica, last bool) bool {
	c, err := r.peers.client(leader)
	if err != nil {
		return last
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answer, err := pb.NewSiblingsClient(c).Announce(ctx, &pb.AnnounceRequest{AppliedIndex: r.node.Stats().Applied})
	if err != nil {
		return last
	}
	return answer.GetUnknown()
}

func (r *Replica) noteApplied(name string, index uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.applied == nil {
		r.applied = map[string]progress{}
	}
	maps.DeleteFunc(r.applied, func(_ string, p progress) bool { return time.Since(p.at) >= announceValid })
	r.applied[name] = progress{index, time.Now()}
}

// appliedBy is what a sibling last announced, for the rule of who may vote.
func (r *Replica) appliedBy(s catalog.Replica) (uint64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.applied[s.Name]
	return p.index, ok && time.Since(p.at) < announceValid
}

// members is the listener of fed-raft. While this replica leads it admits only
// servers that are registered, with the key they enrolled: a replica that was removed, or left behind by a
// recovery, could otherwise depose it with a higher term. A follower cannot judge,
// because it may not have heard yet of the replica that leads it.
type members struct {
	net.Listener
	node func() *state.Node
	done chan struct{}
	once sync.Once
}

// Close implements net.Listener.
func (m *members) Close() error {
	m.once.Do(func() { close(m.done) })
	return m.Listener.Close()
}

// Accept implements net.Listener. When the port is closed it waits for Raft to
// end too, which would take the loss of its listener for a failure.
func (m *members) Accept() (net.Conn, error) {
	for {
		c, err := m.Listener.Accept()
		if err != nil {
			<-m.done
			return nil, err
		}
		if m.admits(c) {
			return c, nil
		}
		_ = c.Close()
	}
}

func (m *members) admits(c net.Conn) bool {
	conn, ok := c.(*port.Conn)
	node := m.node()
	if !ok || node == nil || !node.IsLeader() {
		return true
	}
	peer, _ := conn.Peer()
	registered := false
	node.Read(func(s *state.State) {
		record := s.Replica(peer.Name)
		registered = record != nil && bytes.Equal(record.PublicKey, keyOf(conn))
	})
	return registered
}

// keyOf is the public key that the other end proved to hold, as in its record.
func keyOf(c *port.Conn) []byte {
	secured, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	shown := secured.ConnectionState().PeerCertificates
	if len(shown) == 0 {
		return nil
	}
	return shown[0].RawSubjectPublicKeyInfo
}
