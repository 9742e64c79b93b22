package federation

import (
	"context"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/source"
)

// maxSetsAtOnce and maxEndpointsAtOnce bound one PutSets command.
const (
	maxSetsAtOnce      = 500
	maxEndpointsAtOnce = 5000
	// maxFold bounds the changes of one FoldHealth command.
	maxFold = 5000
)

// raftLedger writes what the desk wants durable into the region's Raft.
type raftLedger struct{ r *Replica }

// PutSets implements ledger. A large change is written in several commands, each
// of which is whole.
func (l raftLedger) PutSets(ctx context.Context, cluster, origin string, term uint64, c source.Changes) error {
	next := func() *state.PutSets { return &state.PutSets{Cluster: cluster, Source: origin, Term: term} }
	cmd, endpoints := next(), 0
	for _, key := range c.Deletes {
		cmd.Deletes = append(cmd.Deletes, key.Service)
	}
	for _, set := range c.Upserts {
		full := len(cmd.Upserts) >= maxSetsAtOnce || endpoints+len(set.Endpoints) > maxEndpointsAtOnce
		if full && len(cmd.Upserts) > 0 {
			if err := l.propose(ctx, cmd); err != nil {
				return err
			}
			cmd, endpoints = next(), 0
		}
		cmd.Upserts = append(cmd.Upserts, set)
		endpoints += len(set.Endpoints)
	}
	return l.propose(ctx, cmd)
}

// FoldHealth implements ledger. The changes are in the order of their versions;
// many are written in several commands.
func (l raftLedger) FoldHealth(ctx context.Context, cluster string, upTo catalog.HealthVersion, changes []catalog.HealthChange) error {
	for len(changes) > maxFold {
		part := changes[:maxFold]
		changes = changes[maxFold:]
		last := part[len(part)-1].Version
		if last.Term != upTo.Term || last.Epoch != upTo.Epoch {
			// Left by an earlier owner: the present term begins above all of these.
			last = catalog.HealthVersion{Epoch: upTo.Epoch, Term: upTo.Term}
		}
		if err := l.fold(ctx, cluster, last, part); err != nil {
			return err
		}
	}
	return l.fold(ctx, cluster, upTo, changes)
}

func (l raftLedger) fold(ctx context.Context, cluster string, upTo catalog.HealthVersion, changes []catalog.HealthChange) error {
	return l.propose(ctx, &state.FoldHealth{Cluster: cluster, Owner: l.r.card.Replica.Name, UpTo: upTo, Changes: changes})
}

// DescribeCluster implements ledger.
func (l raftLedger) DescribeCluster(ctx context.Context, cluster string, term uint64, prefixes []catalog.ClientPrefix, sourceError string, since time.Time) error {
	if err := l.propose(ctx, &state.SetClusterStatus{Cluster: cluster, Term: term, SourceError: sourceError, Since: since}); err != nil {
		return err
	}
	return l.propose(ctx, &state.AnnouncePrefixes{Cluster: cluster, Prefixes: prefixes})
}

func (l raftLedger) propose(ctx context.Context, cmd state.Command) error {
	_, err := l.r.proposer.Propose(ctx, l.r.systemMeta(), cmd)
	return err
}
