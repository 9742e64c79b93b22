package enroll

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/rpc"
	"github.com/federator/federator/peering/throttle"
	"github.com/federator/federator/peering/token"
)

// Description is what a server tells anyone.
type Description struct {
	TrustDomain              string
	Region, Cluster          string
	Epoch                    uint64
	MinProtocol, MaxProtocol int
	Build                    string
	// TrustList is the signed list in force, which is public.
	TrustList []byte
}

// TokenRecord is what a region keeps of a token that it issued.
type TokenRecord struct {
	// SecretHash is [token.Secret.Hash] of its secret.
	SecretHash []byte
	Expires    time.Time
	// Region and Cluster restrict it, if set.
	Region, Cluster string
	// UsedBy is the key of the replica that it let in; zero if unused.
	UsedBy identity.KeyID
}

// Admission is a joiner that asks to be let in, validated and proven to hold its
// keys.
type Admission struct {
	TokenID string
	// Replica has the public key of CSR; JoinedAt is not set.
	Replica catalog.Replica
	CSR     []byte
	// Request is CSR, parsed.
	Request *identity.Request
	// IntermediateCSR is for the region's CA, should the joiner found the region.
	IntermediateCSR []byte
	// Origin is the address it came from, for the audit trail.
	Origin string
}

// Renewal is a replica that asks for a new certificate by its enrolled key.
type Renewal struct {
	Region, Name string
	CSR          []byte
	// Request is CSR, parsed.
	Request *identity.Request
	Origin  string
}

// Backend is what the server needs of the region. Errors that wrap the sentinels
// of this package reach the joiner as they read; of others it learns nothing.
type Backend interface {
	Describe() Description
	// Token looks up a token as of now; false if there is none of that id.
	Token(ctx context.Context, id string) (TokenRecord, bool, error)
	// Check reports why Admit would refuse, and changes nothing. What the same key
	// was given before is no reason.
	Check(ctx context.Context, a Admission) error
	// Redeem spends the token on the replica's key, in one Raft command that
	// checks expiry and use again. A second time for the same key is no error.
	Redeem(ctx context.Context, a Admission) error
	// Admit lets the replica in, or registers the region that it founds. A second
	// time for the same key gives the same admission.
	Admit(ctx context.Context, a Admission) (*pb.EnrollResponse, error)
	// Renew signs a certificate if the key is the one on record for the name.
	Renew(ctx context.Context, r Renewal) (*pb.RenewResponse, error)
	// IssueSVID attests a pod by its token, which it does not keep, and has the pod's
	// certificate signed.
	IssueSVID(ctx context.Context, r SVIDAttempt) (*pb.IssueSVIDResponse, error)
}

// Server answers those who have no certificate.
type Server struct {
	pb.UnimplementedEnrollmentServer
	backend Backend
	log     *slog.Logger
	now     func() time.Time
	calls   *throttle.Table
}

// How often one address may ask: enough for a rack behind one address to join.
const (
	callsPerSecond = 5
	callsBurst     = 60
	callers        = 4096
)

// NewServer makes a server that decides by the backend. The clock is now.
func NewServer(b Backend, now func() time.Time, log *slog.Logger) *Server {
	return &Server{backend: b, log: log, now: now, calls: throttle.New(callsPerSecond, callsBurst, callers, now)}
}

const maxHelloNonce = 64

// Hello implements the service.
func (s *Server) Hello(ctx context.Context, req *pb.HelloRequest) (*pb.HelloResponse, error) {
	if err := s.admitCall(ctx); err != nil {
		return nil, s.fail(ctx, "hello", err)
	}
	if len(req.GetNonce()) > maxHelloNonce {
		return nil, s.fail(ctx, "hello", fmt.Errorf("%w: a nonce of %d bytes, expected at most %d", ErrInvalid, len(req.GetNonce()), maxHelloNonce))
	}
	d := s.backend.Describe()
	return &pb.HelloResponse{
		Nonce: req.GetNonce(), Time: timestamppb.New(s.now()),
		TrustDomain: d.TrustDomain, Region: d.Region, Cluster: d.Cluster, Epoch: d.Epoch,
		MinProtocol: uint32(d.MinProtocol), MaxProtocol: uint32(d.MaxProtocol), Build: d.Build,
		TrustList: d.TrustList,
	}, nil
}

// Enroll implements the service.
func (s *Server) Enroll(ctx context.Context, req *pb.EnrollRequest) (*pb.EnrollResponse, error) {
	resp, err := s.enroll(ctx, req)
	if err != nil {
		return nil, s.fail(ctx, "enroll", err)
	}
	resp.Time = timestamppb.New(s.now())
	s.log.Info("a replica was let in", "region", resp.GetRegion(), "replica", req.GetReplica().GetName(),
		"token", req.GetTokenId(), "founding", resp.GetFounding(), "peer", rpc.Origin(ctx))
	return resp, nil
}

func (s *Server) enroll(ctx context.Context, req *pb.EnrollRequest) (*pb.EnrollResponse, error) {
	if err := s.admitCall(ctx); err != nil {
		return nil, err
	}
	a, err := s.admission(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := s.checkToken(ctx, req.GetSecret(), &a); err != nil {
		return nil, err
	}
	if err := s.backend.Check(ctx, a); err != nil {
		return nil, err
	}
	if err := s.backend.Redeem(ctx, a); err != nil {
		return nil, err
	}
	return s.backend.Admit(ctx, a)
}

// admission validates all that the joiner sent but the secret.
func (s *Server) admission(ctx context.Context, req *pb.EnrollRequest) (Admission, error) {
	r, err := ReplicaFromWire(req.GetReplica())
	if err != nil {
		return Admission{}, err
	}
	csr, err := parseRequests(s.backend.Describe().TrustDomain, req, &r)
	if err != nil {
		return Admission{}, err
	}
	r.PublicKey = csr.SPKI
	return Admission{
		TokenID: req.GetTokenId(), Replica: r, CSR: req.GetCsr(), Request: csr,
		IntermediateCSR: req.GetIntermediateCsr(), Origin: rpc.Origin(ctx),
	}, nil
}

// checkToken tells nothing of a token to who does not know its secret, and takes
// the same time whether the token exists or not.
func (s *Server) checkToken(ctx context.Context, secret []byte, a *Admission) error {
	t, known, err := s.backend.Token(ctx, a.TokenID)
	if err != nil {
		return err
	}
	if !matches(secret, t.SecretHash) || !known {
		return ErrUnknownToken
	}
	if t.UsedBy == a.Request.KeyID() {
		return nil // a retry; it may come late
	}
	if !t.UsedBy.IsZero() {
		return ErrReused
	}
	if now := s.now(); !now.Before(t.Expires) {
		return fmt.Errorf("%w (it expired at %s, and it is %s here)", ErrExpired, stamp(t.Expires), stamp(now))
	}
	if (t.Region != "" && t.Region != a.Replica.Region) || (t.Cluster != "" && t.Cluster != a.Replica.Cluster) {
		return fmt.Errorf("%w: it is for region %q and cluster %q (empty means any)", ErrRestricted, t.Region, t.Cluster)
	}
	return nil
}

func matches(secret, hash []byte) bool {
	var s token.Secret
	sized := subtle.ConstantTimeEq(int32(len(secret)), int32(len(s)))
	copy(s[:], secret)
	if len(hash) != sha256.Size {
		hash = make([]byte, sha256.Size)
	}
	return s.Matches(hash) && sized == 1
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Renew implements the service.
func (s *Server) Renew(ctx context.Context, req *pb.RenewRequest) (*pb.RenewResponse, error) {
	resp, err := s.renew(ctx, req)
	if err != nil {
		return nil, s.fail(ctx, "renew", err)
	}
	resp.Time = timestamppb.New(s.now())
	return resp, nil
}

func (s *Server) renew(ctx context.Context, req *pb.RenewRequest) (*pb.RenewResponse, error) {
	if err := s.admitCall(ctx); err != nil {
		return nil, err
	}
	csr, err := parseCSR(s.backend.Describe().TrustDomain, req.GetCsr(), req.GetRegion(), req.GetName())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return s.backend.Renew(ctx, Renewal{Region: req.GetRegion(), Name: req.GetName(), CSR: req.GetCsr(), Request: csr, Origin: rpc.Origin(ctx)})
}

// admitCall slows down an address that asks too often.
func (s *Server) admitCall(ctx context.Context) error {
	if s.calls.Allow(callerAddr(ctx)) {
		return nil
	}
	return ErrTooMany
}

func callerAddr(ctx context.Context) netip.Addr {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		if ap, err := netip.ParseAddrPort(p.Addr.String()); err == nil {
			return throttle.Key(ap.Addr())
		}
	}
	return netip.Addr{}
}

// fail makes the error for the wire. What is not meant for strangers is logged
// here and replaced.
func (s *Server) fail(ctx context.Context, what string, err error) error {
	if wired, ok := ToStatus(err); ok {
		return wired
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		wired, _ := ToStatus(fmt.Errorf("%w: the region did not answer in time", ErrUnavailable))
		return wired
	}
	s.log.Error("enrolment failed", "call", what, "peer", rpc.Origin(ctx), "error", err)
	return status.Error(codes.Internal, "internal error; the log of the replica that was asked says more")
}
