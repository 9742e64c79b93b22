package operator

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"io"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/replication"
)

// Raft is the replica's part in its region's Raft; a [state.Node].
type Raft interface {
	Read(func(*state.State))
	Stats() state.Stats
	Health() []error
	Backup(context.Context, io.Writer) (state.Manifest, error)
}

// Proposer gets commands into the region's Raft, through its leader wherever it
// is, and returns when they are applied here.
type Proposer interface {
	Propose(context.Context, state.Meta, state.Command) (state.Result, error)
	// CatchUp waits until Raft holds here every change that the region had
	// acknowledged when it was called.
	CatchUp(context.Context) error
}

// Gossip is what is measured of other replicas; a [gossip.Gossip].
type Gossip interface {
	Members() []gossip.Member
	// Alive reports whether a replica of the own region answers.
	Alive(name string) bool
}

// Trust is the trust list in force; an [identity.Verifier].
type Trust interface {
	List() identity.List
	Signed() []byte
	Roots() []*x509.Certificate
}

// Config is what a [Server] works with. The functions are called from any
// goroutine and must answer at once, unless they take a context.
type Config struct {
	// Self is this replica as its data directory describes it; Authority names the
	// authority region, Zone the DNS zone.
	Self        catalog.Replica
	TrustDomain string
	Authority   string
	Zone        string
	// DNS: this replica answers DNS.
	DNS bool
	// Started is when the replica started.
	Started time.Time

	// Pods are those of the StatefulSet that the replica is one of; zero elsewhere.
	Pods Pods

	Catalog  *catalog.Catalog
	Raft     Raft
	Proposer Proposer
	Gossip   Gossip
	Trust    Trust

	// Links are the streams from the other regions.
	Links func() []replication.LinkStatus
	// ReachSince tells since when a region has been in its present state; zero if
	// that never changed.
	ReachSince func(region string) time.Time
	// WaitingFor says what keeps the replica from being ready.
	WaitingFor func() []string
	// CacheError is why the last write of the import cache failed; nil if it did not.
	CacheError func() error

	// Renewal tells how the replica's certificate is doing, Chain is the one in use
	// (leaf, intermediate, root in DER; nil if none).
	Renewal func() identity.RenewerState
	Chain   func() [][]byte
	// Signer returns the region's CA if it is unsealed here.
	Signer func() (*identity.Intermediate, bool)
	// LockedOut says why a secret of the region could not be unsealed; nil if it was.
	LockedOut func(secret string) error

	// Imports tells how the imports of the replica's Kubernetes cluster are; nil where
	// it belongs to none.
	Imports func() Imports
	// MissingRights are what the API server of that cluster does not allow to this
	// replica; nil where it asks none.
	MissingRights func() []MissingRight
	// VIPs are the clusterset IPs that DNS answers clients in that cluster with, none
	// for a service that has none; nil like Imports.
	VIPs func(catalog.ServiceName) []netip.Addr
	// Attesting says since when, and why, the API server of the own cluster does not
	// review the tokens of pods; nil if it does, or nobody asked. The function is nil
	// without Kubernetes.
	Attesting func() (since time.Time, err error)

	// RemoveRegion has the authority region remove a region, also one whose replicas
	// still answer if forced to.
	RemoveRegion func(ctx context.Context, region, actor, origin string, force bool) (*catalog.Region, error)
	// Revoke has the authority region revoke a replica's key.
	Revoke func(ctx context.Context, replica catalog.Replica, actor, origin string) error
	// BackupHead returns what a backup file begins with, for the recipients.
	BackupHead func(recipients []string) ([]byte, error)

	// Keyring returns the gossip keys, the primary first, and who does not hold the
	// newest yet; RotateKeyring begins or goes on with a rotation.
	Keyring       func(ctx context.Context) (version uint64, keys [][]byte, waitingFor []string)
	RotateKeyring func(ctx context.Context, without []string) error
	// MarkLeft is told that this replica must not run again once it has ended, and Left
	// that it is no longer a member of its region, and ends.
	MarkLeft func()
	Left     func()

	// Now is the clock (nil: time.Now), Random makes tokens (nil: crypto/rand), Log
	// may be nil.
	Now    func() time.Time
	Random io.Reader
	Log    *slog.Logger
}

// Pods are the pods of a StatefulSet of Kubernetes.
type Pods struct{ Namespace, StatefulSet string }

// kubectl is a command about them; what is printed of it can be pasted.
func (p Pods) kubectl(args string) string { return "kubectl -n " + p.Namespace + " " + args }

// Server answers the Operator service. It is safe for concurrent use.
type Server struct {
	pb.UnimplementedOperatorServer
	Config
	// removing: it was a member, and asked its region to remove it.
	removing atomic.Bool
}

// New returns a server. It keeps nothing of its own that would need closing.
func New(c Config) *Server {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return &Server{Config: c}
}
