package federation

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
)

// A replica may come back elsewhere: a pod has another address after every start,
// and Raft knows replicas by name and disk for that reason. What has to follow is
// done here, in the order in which it can be:
//
//   - the card takes the new address before anything listens or speaks;
//   - the replica tells its region (describe). Its leader may not reach it at the
//     old address, so that it hears of no leader: it then asks its siblings;
//   - siblings that all have moved find each other by [Advertise.Siblings];
//   - other regions learn it from the region's records, or, when they too hold only
//     old addresses, from the streams that this replica opens to them ([callers]);
//   - the certificate, which names the address, is renewed (recertify). Nobody waits
//     for it: replicas know each other by their SPIFFE IDs.

// moveTo notes in the card where the replica is reached now.
func (r *Replica) moveTo(a Advertise) error {
	moved := r.card.Replica
	for _, field := range []struct {
		of  *string
		now string
	}{{&moved.PeerAddress, a.Peer}, {&moved.GossipAddress, a.Gossip}, {&moved.DNSAddress, a.DNS}, {&moved.Zone, a.Zone}} {
		if field.now != "" {
			*field.of = field.now
		}
	}
	if sameRecord(moved, r.card.Replica) {
		return nil
	}
	r.card.Replica = moved
	return writeJSON(r.dir.card(), r.card)
}

// innerAddress is where a replica of the own cluster is reached besides at its
// address; "" for others.
func (r *Replica) innerAddress(region, name string) string {
	self := r.card.Replica
	if r.cfg.Advertise.Siblings == "" || region != self.Region {
		return ""
	}
	near := func(s catalog.Replica) bool { return s.Name == name && s.Cluster == self.Cluster }
	if !slices.ContainsFunc(r.siblings(), near) {
		return ""
	}
	return strings.ReplaceAll(r.cfg.Advertise.Siblings, siblingName, name)
}

// How often a replica looks whether its record and its certificate are true, and
// how long it tries to have them changed.
const (
	describeEvery   = 2 * time.Second
	describeTimeout = 5 * time.Second
)

// describe keeps the region's record of this replica true.
func (r *Replica) describe(ctx context.Context) error {
	for sleep(ctx, describeEvery) {
		record := r.ownRecord()
		_, led := r.node.Leader()
		if record == nil && !led {
			record = r.knownRecord()
		}
		want := r.card.Replica
		want.MinProtocol, want.MaxProtocol = state.MinProtocol, state.Protocol
		if record == nil || record.DiskID != want.DiskID || sameRecord(*record, want) {
			continue
		}
		short, cancel := context.WithTimeout(ctx, describeTimeout)
		propose := r.proposer.Propose
		if !led {
			propose = r.proposer.proposeUnled
		}
		if _, err := propose(short, r.systemMeta(), &state.UpdateReplica{Replica: want}); err != nil {
			r.log.Debug("could not update the record of this replica", "error", err)
		}
		cancel()
	}
	return nil
}

// ownRecord is what the region has agreed on about this replica; nil for nothing.
func (r *Replica) ownRecord() (record *catalog.Replica) {
	r.node.Read(func(s *state.State) { record = s.Replica(r.card.Replica.Name) })
	return record
}

// knownRecord is what the region had agreed on when this replica last heard of it:
// its Raft log says nothing before there is a leader.
func (r *Replica) knownRecord() *catalog.Replica {
	for _, known := range r.replicasOf(r.card.Replica.Region) {
		if known.Name == r.card.Replica.Name {
			return &known
		}
	}
	return nil
}

func sameRecord(a, b catalog.Replica) bool {
	return sameAddress(a, b) && a.Zone == b.Zone && a.DNSAddress == b.DNSAddress && a.Build == b.Build &&
		a.MinProtocol == b.MinProtocol && a.MaxProtocol == b.MaxProtocol
}

// recertify renews a certificate that names another address than the replica's. A
// sibling that signs takes the address from the record, which comes first.
func (r *Replica) recertify(ctx context.Context) error {
	for !r.certified() {
		if !sleep(ctx, time.Second) {
			return nil
		}
		record := r.ownRecord()
		if record == nil || record.PeerAddress != r.card.Replica.PeerAddress {
			continue
		}
		if err := r.renewer.RenewNow(ctx); err != nil {
			r.log.Debug("could not renew the certificate for the new address", "error", err)
		}
	}
	return nil
}

// certified reports whether the certificate names the address of the replica.
func (r *Replica) certified() bool {
	leaf := r.keys.source.Leaf()
	if leaf == nil {
		return true // the renewer gets one anyway
	}
	names, ips := sanOf(r.card.Replica)
	return slices.Equal(leaf.DNSNames, names) && slices.EqualFunc(leaf.IPAddresses, ips, net.IP.Equal)
}
