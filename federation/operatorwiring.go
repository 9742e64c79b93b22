package federation

import (
	"time"

	"github.com/federator/federator/federation/operator"
	"github.com/federator/federator/peering/pb"
)

// operatorServer makes what answers the command line; attesting may be nil.
func (r *Replica) operatorServer(attesting func() (time.Time, error)) pb.OperatorServer {
	c := operator.Config{
		Self: r.card.Replica, TrustDomain: r.card.TrustDomain, Authority: r.card.Authority,
		Zone: r.cfg.Zone, DNS: len(r.cfg.Listen.DNS) > 0 || r.card.Replica.DNSAddress != "", Started: r.started,

		Catalog: r.catalog, Raft: r.node, Proposer: r.proposer, Gossip: r.gossip, Trust: r.verifier,

		Links: r.importer.Status, ReachSince: r.observer.reachSince, WaitingFor: r.waitingFor,
		CacheError: r.cache.Err,
		Renewal:    r.renewer.State, Chain: r.keys.source.Chain, Signer: r.vault.signer, LockedOut: r.vault.lockedOut,
		Attesting: attesting,

		BackupHead: r.backupHead, RemoveRegion: r.removeRegion, Revoke: r.revoke, Keyring: r.keyringStatus, RotateKeyring: r.rotateKeyring,
		MarkLeft: r.markLeft, Left: r.left,
		Log: r.log,
	}
	if r.kube != nil {
		c.VIPs = r.kube.vips.Lookup
		c.Imports = func() operator.Imports { return operator.Imports(r.kube.writer.Status()) }
	}
	if r.pod != nil {
		c.Pods = operator.Pods{Namespace: r.pod.Namespace, StatefulSet: r.pod.StatefulSet}
	}
	if r.rights != nil {
		c.MissingRights = r.missingRights
	}
	return operator.New(c)
}
