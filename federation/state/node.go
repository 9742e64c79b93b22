package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/federator/federator/federation/catalog"
	"github.com/hashicorp/raft"
)

// Node is this replica's part in the region's Raft.
type Node struct {
	opts      Options
	raft      *raft.Raft
	machine   *machine
	disk      *disk
	transport *raft.NetworkTransport
	stream    *trackedStream
	troubles  *troubles
	metrics   *metrics
	leading   *leadership

	closing   chan struct{}
	closeOnce sync.Once
	closeErr  error
	wg        sync.WaitGroup
}

// Open starts the replica's Raft from what its data directory holds. Damage is an
// error that names the file and the remedy; nothing is deleted.
func Open(opts Options) (*Node, error) {
	opts.setDefaults()
	if err := opts.check(); err != nil {
		return nil, err
	}
	disk, err := openDisk(opts.Dir, newRaftLogger(opts.Logger))
	if err != nil {
		return nil, err
	}
	n := &Node{
		opts: opts, disk: disk, machine: newMachine(opts.protocol), troubles: newTroubles(opts.Clock),
		leading: newLeadership(), closing: make(chan struct{}),
	}
	if err := n.start(); err != nil {
		return nil, errors.Join(err, n.abort())
	}
	return n, nil
}

func (n *Node) start() error {
	if n.opts.Bootstrap {
		if err := n.bootstrap(); err != nil {
			return err
		}
	}
	halt := make(chan error, 1)
	n.machine.onHalt = func(err error) { halt <- err } // the machine halts once
	n.machine.onSave = func(err error) { n.troubles.note(savingSnapshot, err) }
	n.metrics = newMetrics(n)
	n.machine.onStep = n.metrics.step
	n.stream = newTrackedStream(n.opts.Stream)
	n.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider: addresses(n.opts.AddressOf), Stream: n.stream,
		MaxPool: 3, Timeout: max(n.opts.Timing.Apply, n.opts.Timing.Heartbeat), Logger: newRaftLogger(n.opts.Logger),
	})
	notify := make(chan bool, 8)
	if err := n.startRaft(notify); err != nil {
		return err
	}
	if err := n.metrics.register(n.opts.Registerer); err != nil {
		return errors.Join(err, n.raft.Shutdown().Error())
	}
	n.wg.Go(func() { n.leading.follow(notify, n.closing) })
	n.wg.Go(func() { n.watchHalt(halt) })
	return nil
}

// startRaft starts hashicorp/raft, which panics on a log it cannot read.
func (n *Node) startRaft(notify chan<- bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = corruptFile(filepath.Join(n.opts.Dir, logFile), fmt.Errorf("%v", p))
		}
	}()
	stable := &watchedStable{StableStore: n.disk.log, troubles: n.troubles, closed: n.closing}
	logs := &watchedLog{LogStore: &keptTail{LogStore: n.disk.log}, troubles: n.troubles}
	snaps := &watchedSnapshots{SnapshotStore: n.disk.snaps, troubles: n.troubles}
	n.raft, err = raft.NewRaft(n.opts.raftConfig(notify), n.machine, logs, stable, snaps, n.transport)
	if halted := n.machine.haltedErr(); err != nil && halted != nil {
		return fmt.Errorf("start Raft from %s: %w", n.opts.Dir, halted)
	}
	if err != nil {
		return ErrCorrupt.withf("start Raft from %s: %v; %s", n.opts.Dir, err, remedy)
	}
	return nil
}

func (n *Node) bootstrap() error {
	exists, err := n.disk.exists()
	if err != nil || exists {
		return err
	}
	only := raft.Configuration{Servers: []raft.Server{server(n.opts.RaftID, raft.Voter)}}
	conf := n.opts.raftConfig(nil)
	err = raft.BootstrapCluster(conf, n.disk.log, n.disk.log, n.disk.snaps, discardTransport(), only)
	if err != nil {
		return fmt.Errorf("bootstrap the region's Raft in %s: %w", n.opts.Dir, err)
	}
	return nil
}

// server is a replica in Raft's configuration; the address is looked up by id.
func server(id string, suffrage raft.ServerSuffrage) raft.Server {
	return raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id), Suffrage: suffrage}
}

// watchHalt takes a halted replica out of Raft: a follower that confirms entries
// it cannot run would only hold up its region later.
func (n *Node) watchHalt(halt <-chan error) {
	select {
	case err := <-halt:
		n.opts.Logger.Error("replica halted", "replica", n.opts.RaftID, "error", err)
		if err := n.raft.Shutdown().Error(); err != nil {
			n.opts.Logger.Error("leave Raft after halting", "replica", n.opts.RaftID, "error", err)
		}
		n.opts.OnHalt(err)
	case <-n.closing:
	}
}

// Shutdown stops Raft and closes the files. It may be called more than once.
func (n *Node) Shutdown() error {
	n.closeOnce.Do(func() {
		close(n.closing)
		err := n.raft.Shutdown().Error()
		n.wg.Wait()
		n.metrics.unregister(n.opts.Registerer)
		n.closeErr = errors.Join(err, n.closeTransport(), n.disk.close())
	})
	return n.closeErr
}

// abort frees what a failed start had taken.
func (n *Node) abort() error {
	close(n.closing)
	return errors.Join(n.closeTransport(), n.disk.close())
}

// closeTransport ends the listener and every connection.
func (n *Node) closeTransport() error {
	if n.transport == nil {
		return nil
	}
	err := n.transport.Close()
	n.stream.closeAll()
	return err
}

// Read runs f on the state as this replica knows it. f must be quick, must not
// change anything and must not keep the State; what its methods return may be
// kept.
func (n *Node) Read(f func(*State)) { n.machine.read(f) }

// Export returns what the region publishes to others; see [State.Export].
func (n *Node) Export() (catalog.Snapshot, bool) { return n.machine.copy().Export() }

// Own returns what the region's own replicas serve; see [State.Own].
func (n *Node) Own() catalog.Snapshot { return n.machine.copy().Own() }

// DeltasSince returns the deltas from v to now; see [State.DeltasSince].
func (n *Node) DeltasSince(v catalog.Version) (deltas []catalog.Delta, ok bool) {
	n.Read(func(s *State) { deltas, ok = s.DeltasSince(v) })
	return deltas, ok
}

// Subscribe returns a channel that holds a value whenever something exported may
// have changed; pull with [Node.DeltasSince], and with [Node.Own] or
// [Node.Export] where that says false. Call the function when done.
func (n *Node) Subscribe() (<-chan struct{}, func()) { return n.machine.subscribe() }

// Leader returns the Raft id of the leader.
func (n *Node) Leader() (string, bool) {
	_, id := n.raft.LeaderWithID()
	return string(id), id != ""
}

// IsLeader reports whether this replica leads.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }

// LeaderCh returns a channel that holds a value whenever this replica may have
// begun or ceased to lead; ask [Node.IsLeader]. Call the function when done.
func (n *Node) LeaderCh() (<-chan struct{}, func()) { return n.leading.subscribe() }

// Snapshot writes a snapshot now. Without anything new it does nothing.
func (n *Node) Snapshot() error {
	err := n.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write a snapshot in %s: %w", n.opts.Dir, err)
	}
	return nil
}

// TransferLeadership hands the lead to another voter.
func (n *Node) TransferLeadership() error {
	if err := n.raft.LeadershipTransfer().Error(); err != nil {
		return fmt.Errorf("hand over the Raft lead: %w", err)
	}
	return nil
}

// Backup writes the state at one consistent index as a self-describing archive
// for [Restore]. On the leader it holds everything that was acknowledged before
// the call.
func (n *Node) Backup(ctx context.Context, w io.Writer) (Manifest, error) {
	if n.IsLeader() {
		if _, err := n.Barrier(ctx); err != nil {
			return Manifest{}, fmt.Errorf("back up: %w", err)
		}
	}
	return writeBackup(w, n.machine.copy(), n.opts.Clock())
}
