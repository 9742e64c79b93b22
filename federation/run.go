package federation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/port"
	"github.com/federator/federator/peering/rpc"
)

// run keeps everything going until ctx ends or something that cannot be missed
// fails.
func (r *Replica) run(ctx context.Context) error {
	r.log.Info("replica starts", "cluster", r.card.Replica.Cluster, "peer", r.port.Addr(), "build", r.card.Replica.Build)
	g, ctx := errgroup.WithContext(ctx)
	for _, loop := range []func(context.Context) error{
		r.port.Run, r.serve, r.followState, r.followTrust, r.followRemoval, r.followDrills, r.followSecrets, r.found,
		r.cache.Run, r.importer.Run, r.gossiping, r.observer.run, r.desk.run, r.watchKubernetes, r.writeImports, r.tellWriter, r.notify, r.keepIntents, r.renewer.Run, r.shorten,
		r.lead, r.announce, r.tick, r.describe, r.recertify, r.answer, r.leave,
	} {
		g.Go(func() error { return loop(ctx) })
	}
	if r.http != nil {
		g.Go(func() error { return serveHTTP(ctx, r.http, r.metrics, r.waitingFor) })
	}
	<-ctx.Done()
	r.stepDown()
	err := g.Wait()
	r.log.Info("replica stops", "error", err)
	return err
}

// stepDown hands the lead to another voter, so that a planned stop costs no
// election.
func (r *Replica) stepDown() {
	if r.node.IsLeader() && len(r.node.Servers()) > 1 {
		if err := r.node.TransferLeadership(); err != nil {
			r.log.Debug("could not hand over the lead", "error", err)
		}
	}
}

// farewell is how long a replica that stops tells the others so.
const farewell = 500 * time.Millisecond

// gossiping gossips until ctx ends, and then tells the others that this replica
// stops: it may come back elsewhere, as a pod does, and memberlist takes another
// address from a replica only if that has left, or once it is sure of its death,
// which takes half a minute.
func (r *Replica) gossiping(ctx context.Context) error {
	going, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- r.gossip.Run(going) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	short, cancel := context.WithTimeout(going, farewell)
	defer cancel()
	if err := r.gossip.Leave(short); err != nil {
		r.log.Debug("not all may know that this replica stops", "error", err)
	}
	end()
	return <-ended
}

// serve answers gRPC on the port and on the socket.
func (r *Replica) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return rpc.Serve(ctx, r.servers.Main, time.Second, r.port.Listener(port.GRPC), r.socket)
	})
	g.Go(func() error { return rpc.Serve(ctx, r.servers.Enroll, time.Second, r.port.Listener(port.Enroll)) })
	return g.Wait()
}

// followState brings what the own region agreed on into the catalog, and tells
// the importer when the directory changes.
func (r *Replica) followState(ctx context.Context) error {
	changed, stop := r.node.Subscribe()
	defer stop()
	watch := r.catalog.Watch()
	defer watch.Close()
	var known []catalog.Replica
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	members := true // may have changed; flips and sets are most of what comes, and change none
	for {
		if err := r.pull(); err != nil {
			r.log.Error("the region's state did not reach the catalog", "error", err)
		}
		if members {
			known = r.followMembers(known)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			members = false // if it did, the catalog says so
		case <-watch.Changed():
			ch := watch.Take()
			members = ch.All || ch.Conditions
		case <-tick.C:
			members = true
		}
	}
}

// followMembers acts on a change of who is a member, or where; known is whom it
// found the last time.
func (r *Replica) followMembers(known []catalog.Replica) []catalog.Replica {
	r.forgetRemoved()
	r.noteAddresses()
	all := r.everybody()
	if !slices.EqualFunc(all, known, sameAddress) {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
	return all
}

// forgetRemoved drops what is held of regions that were removed.
func (r *Replica) forgetRemoved() {
	for _, region := range r.registry() {
		held := r.catalog.Version(region.Name)
		if region.Removed && region.Name != r.card.Replica.Region && held != (catalog.Version{}) && held.Epoch <= region.Epoch {
			r.log.Info("forgetting a removed region", "peer", region.Name, "epoch", held.Epoch)
			r.tee.Forget(region.Name)
		}
	}
}

func sameAddress(a, b catalog.Replica) bool {
	return a.Region == b.Region && a.RaftID() == b.RaftID() && a.PeerAddress == b.PeerAddress && a.GossipAddress == b.GossipAddress
}

// pull takes over the changes of the own region since the version held.
func (r *Replica) pull() error {
	region := r.card.Replica.Region
	held := r.catalog.Version(region)
	if deltas, ok := r.node.DeltasSince(held); ok {
		for _, d := range deltas {
			if err := r.tee.Apply(d); err != nil {
				return err
			}
		}
	} else if own := r.node.Own(); own.Region != "" && own.Version.Compare(held) > 0 {
		if err := r.tee.Reset(own); err != nil {
			return err
		}
	}
	if r.catalog.Version(region) != (catalog.Version{}) {
		r.mu.Lock()
		r.loaded = true
		r.mu.Unlock()
	}
	return nil
}

// found writes the region's first commands, on its founder's first start.
func (r *Replica) found(ctx context.Context) error {
	if r.founding == nil {
		close(r.founded)
		return nil
	}
	commands := []state.Command{&r.founding.Found, r.founding.Secrets}
	if r.founding.Restored {
		r.expectPresent(r.founding.Secrets)
		commands = commands[1:]
	}
	if r.founding.Trust != nil {
		commands = append(commands, r.founding.Trust)
	}
	for _, cmd := range commands {
		_, err := r.proposer.Propose(ctx, r.systemMeta(), cmd)
		if err != nil && !errors.Is(err, state.ErrConflict) { // a conflict: done by an earlier start
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("found the region: %w", err)
		}
	}
	// Now, so that the first to join does not find the secrets still sealed.
	if err := r.vault.refresh(r.secrets()); err != nil {
		return fmt.Errorf("found the region: %w", err)
	}
	r.log.Info("the region is founded", "restored", r.founding.Restored)
	close(r.founded)
	return r.dir.removeFounding()
}

// expectPresent makes the writes replace the secrets that the state holds now.
func (r *Replica) expectPresent(p *state.PutSecrets) {
	r.node.Read(func(s *state.State) {
		for i := range p.Secrets {
			old, _ := s.Secret(p.Secrets[i].Name)
			p.Secrets[i].Expect = old.Generation
		}
	})
}

// systemMeta marks commands that no operator asked for.
func (r *Replica) systemMeta() state.Meta {
	return state.Meta{Actor: identity.ReplicaID(r.card.TrustDomain, r.card.Replica.Region, r.card.Replica.Name).String()}
}

// tick tells the catalog the time.
func (r *Replica) tick(ctx context.Context) error {
	t := time.NewTicker(250 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			r.catalog.Advance(now)
		}
	}
}
