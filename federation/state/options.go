package state

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// Timing are Raft's clocks. The zero value means the defaults, by which the loss
// of a leader is over in well under a second on a LAN.
type Timing struct {
	// Heartbeat is how long a follower hears nothing before it stands for election,
	// Election how long an election may take. Default 300 ms.
	Heartbeat, Election time.Duration
	// Lease is how long a leader leads without hearing a quorum. Default 200 ms.
	Lease time.Duration
	// Voters is how often the leader looks at the voters. Default 1 s.
	Voters time.Duration
	// Apply bounds how long a command waits to enter the log, if its context
	// does not. Default 10 s.
	Apply time.Duration
}

// Options are what a [Node] needs.
type Options struct {
	// Dir is the data directory, which must exist; the caller has locked it.
	Dir string
	// RaftID is NAME.DISKID of this replica.
	RaftID string
	// Stream carries Raft's connections (ALPN fed-raft).
	Stream raft.StreamLayer
	// AddressOf returns where a replica's Raft is reached now. Addresses are not
	// part of the Raft configuration, because they may change.
	AddressOf func(raftID string) (string, bool)
	Logger    *slog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
	// Clock is the time that the leader stamps on commands; nil means time.Now.
	Clock  func() time.Time
	Timing Timing
	// SnapshotThreshold is how many log entries make a snapshot worth it (default
	// 8192), SnapshotInterval how often that is looked at (default 2 min),
	// TrailingLogs how many entries stay behind a snapshot for slow followers
	// (default 10240). With twice the threshold, the one but last snapshot can
	// stand in for a corrupt last one.
	SnapshotThreshold uint64
	SnapshotInterval  time.Duration
	TrailingLogs      uint64
	// Bootstrap makes this replica the only voter of a new region, if the
	// directory holds no Raft state yet.
	Bootstrap bool
	// OnHalt is called once, if the log holds something this build cannot run. The
	// replica has then stopped taking part in Raft.
	OnHalt func(error)

	protocol int // for tests: the protocol this build pretends to understand
}

func (o *Options) setDefaults() {
	t := &o.Timing
	t.Heartbeat = cmp.Or(t.Heartbeat, 300*time.Millisecond)
	t.Election = cmp.Or(t.Election, t.Heartbeat)
	t.Lease = cmp.Or(t.Lease, t.Heartbeat*2/3)
	t.Voters = cmp.Or(t.Voters, time.Second)
	t.Apply = cmp.Or(t.Apply, 10*time.Second)
	o.SnapshotThreshold = cmp.Or(o.SnapshotThreshold, 8192)
	o.SnapshotInterval = cmp.Or(o.SnapshotInterval, 2*time.Minute)
	o.TrailingLogs = cmp.Or(o.TrailingLogs, 10240)
	o.protocol = cmp.Or(o.protocol, Protocol)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.OnHalt == nil {
		o.OnHalt = func(error) {}
	}
}

func (o *Options) check() error {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("expected Dir, the data directory"))
	}
	if o.RaftID == "" {
		errs = append(errs, errors.New("expected RaftID, which is NAME.DISKID"))
	}
	if o.Stream == nil || o.AddressOf == nil {
		errs = append(errs, errors.New("expected Stream and AddressOf"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("state options: %w", err)
	}
	return nil
}

// raftConfig returns Raft's configuration; leading takes changes of leadership.
func (o *Options) raftConfig(leading chan<- bool) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(o.RaftID)
	c.HeartbeatTimeout, c.ElectionTimeout = o.Timing.Heartbeat, o.Timing.Election
	c.LeaderLeaseTimeout = o.Timing.Lease
	c.CommitTimeout = min(c.CommitTimeout, o.Timing.Heartbeat/4)
	c.SnapshotThreshold, c.SnapshotInterval = o.SnapshotThreshold, o.SnapshotInterval
	c.TrailingLogs = o.TrailingLogs
	c.NotifyCh = leading
	c.NoLegacyTelemetry = true
	c.Logger = newRaftLogger(o.Logger)
	return c
}

// addresses looks up where a replica's Raft is reached.
type addresses func(raftID string) (string, bool)

// ServerAddr returns the address of a server; see raft.ServerAddressProvider.
func (a addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if addr, ok := a(string(id)); ok {
		return raft.ServerAddress(addr), nil
	}
	return "", fmt.Errorf("no address is known of replica %s", id)
}
