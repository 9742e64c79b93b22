package state

// The types of the commands, as they are written in the log.
const (
	TypeFound            Type = "found"
	TypeSetEpoch         Type = "set-epoch"
	TypeRaiseProtocol    Type = "raise-protocol"
	TypeAudit            Type = "audit"
	TypeAdmitReplica     Type = "admit-replica"
	TypeUpdateReplica    Type = "update-replica"
	TypeRemoveReplica    Type = "remove-replica"
	TypeAddCluster       Type = "add-cluster"
	TypeRemoveCluster    Type = "remove-cluster"
	TypeAnnouncePrefixes Type = "announce-prefixes"
	TypeSetClusterStatus Type = "set-cluster-status"
	TypePutSets          Type = "put-sets"
	TypeGrantLease       Type = "grant-lease"
	TypeFoldHealth       Type = "fold-health"
	TypePutObject        Type = "put-object"
	TypeMergeObjects     Type = "merge-objects"
	TypeCreateToken      Type = "create-token"
	TypeRedeemToken      Type = "redeem-token"
	TypeRevokeToken      Type = "revoke-token"
	TypePutSecrets       Type = "put-secrets"
	TypePutTrust         Type = "put-trust"
	TypeRegisterRegion   Type = "register-region"
	TypeClaimCluster     Type = "claim-cluster"
	TypeSetIntermediate  Type = "set-intermediate"
	TypeRemoveRegion     Type = "remove-region"
	TypeNextEpoch        Type = "next-epoch"

	// Since protocol 2.
	TypeStartDrill   Type = "start-drill"
	TypeAdvanceDrill Type = "advance-drill"
	TypeCastBallot   Type = "cast-ballot"
	TypeMarkBallot   Type = "mark-ballot"
	TypePutSamples   Type = "put-samples"
)

// newCommand returns an empty command of the type, or nil if it is unknown.
func newCommand(t Type) Command {
	for _, cmd := range allCommands() {
		if cmd.kind() == t {
			return cmd
		}
	}
	return nil
}

// allCommands returns an empty command of every type.
func allCommands() []Command {
	return []Command{
		&PutSets{}, &FoldHealth{}, &MergeObjects{}, &GrantLease{}, &UpdateReplica{},
		&Found{}, &SetEpoch{}, &RaiseProtocol{}, &Audit{},
		&AdmitReplica{}, &RemoveReplica{},
		&AddCluster{}, &RemoveCluster{}, &AnnouncePrefixes{}, &SetClusterStatus{},
		&PutObject{}, &CreateToken{}, &RedeemToken{}, &RevokeToken{},
		&PutSecrets{}, &PutTrust{},
		&RegisterRegion{}, &ClaimCluster{}, &SetIntermediate{}, &RemoveRegion{}, &NextEpoch{},
		&StartDrill{}, &AdvanceDrill{}, &CastBallot{}, &MarkBallot{}, &PutSamples{},
	}
}

// DrillProtocol is the protocol that came with drills.
const DrillProtocol = 2

// AffinityProtocol is the protocol that came with the session affinity of
// endpoint sets.
const AffinityProtocol = 3

// PropertiesProtocol is the protocol that came with the properties of endpoint sets.
const PropertiesProtocol = 4

// versionOf returns the protocol that a command needs. Most came with the first;
// a new command raises it, and so does a new field of an old one where it is set.
func versionOf(cmd Command) int {
	if f, ok := cmd.(interface{ needs() int }); ok {
		return f.needs()
	}
	switch cmd.kind() {
	case TypeStartDrill, TypeAdvanceDrill, TypeCastBallot, TypeMarkBallot, TypePutSamples:
		return DrillProtocol
	}
	return MinProtocol
}
