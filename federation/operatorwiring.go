package federation

import (
	"slices"

	"github.com/federator/federator/federation/operator"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
)

// operatorServer makes what answers the command line.
func (r *Replica) operatorServer() pb.OperatorServer {
	return operator.New(operator.Config{
		Self: r.card.Replica, TrustDomain: r.card.TrustDomain, Authority: r.card.Authority,
		Zone: r.cfg.Zone, DNS: len(r.cfg.Listen.DNS) > 0 || r.card.Replica.DNSAddress != "", Started: r.started,

		Catalog: r.catalog, Raft: r.node, Proposer: r.proposer, Gossip: r.gossip, Trust: r.verifier,

		Links: r.importer.Status, ReachSince: r.observer.reachSince, WaitingFor: r.waitingFor,
		Refused: r.refusedObjects, CacheError: r.cache.Err,
		Renewal: r.renewer.State, Chain: r.keys.source.Chain, Signer: r.vault.signer, LockedOut: r.vault.lockedOut,

		RemoveRegion: r.removeRegion, Keyring: r.keyringStatus, RotateKeyring: r.rotateKeyring, Left: r.left,
		Log: r.log,
	})
}

// refusedObjects are objects of other regions that this one does not adopt.
func (r *Replica) refusedObjects() []state.RefusedObject {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.refused)
}
