package federation

import (
	"context"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/source"
)

// maxSetsAtOnce, maxEndpointsAtOnce, maxPropertiesAtOnce and maxDeletesAtOnce bound
// one PutSets command.
const (
	maxSetsAtOnce      = 500
	maxEndpointsAtOnce = 5000
	maxDeletesAtOnce   = 5000
	// maxPropertiesAtOnce is in bytes, of which JSON makes up to six times as many.
	maxPropertiesAtOnce = 256 << 10
	// maxFold bounds the changes of one FoldHealth command.
	maxFold = 5000
)

// raftLedger writes what the desk wants durable into the region's Raft.
type raftLedger struct{ r *Replica }

// PutSets implements ledger. A large change is written in several commands, each
// of which is whole.
func (l raftLedger) PutSets(ctx context.Context, cluster, origin string, term uint64, c source.Changes) error {
	for _, cmd := range commandsFor(cluster, origin, term, c) {
		if err := l.propose(ctx, cmd); err != nil {
			return err
		}
	}
	return nil
}

// commandsFor divides a change into commands of bounded size.
func commandsFor(cluster, origin string, term uint64, c source.Changes) []*state.PutSets {
	var commands []*state.PutSets
	next := func() *state.PutSets {
		commands = append(commands, &state.PutSets{Cluster: cluster, Source: origin, Term: term})
		return commands[len(commands)-1]
	}
	for keys := range slices.Chunk(c.Deletes, maxDeletesAtOnce) {
		cmd := next()
		for _, key := range keys {
			cmd.Deletes = append(cmd.Deletes, key.Service)
		}
	}
	var cmd *state.PutSets
	endpoints, properties := 0, 0
	for _, set := range c.Upserts {
		full := cmd == nil || len(cmd.Upserts) >= maxSetsAtOnce || endpoints+len(set.Endpoints) > maxEndpointsAtOnce
		if full || properties+set.Properties.Bytes() > maxPropertiesAtOnce {
			cmd, endpoints, properties = next(), 0, 0
		}
		cmd.Upserts = append(cmd.Upserts, set)
		endpoints += len(set.Endpoints)
		properties += set.Properties.Bytes()
	}
	return commands
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
