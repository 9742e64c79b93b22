package enroll

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/rpc"
)

// MaxPodToken bounds the token of a pod, in bytes.
const MaxPodToken = 16 << 10

// SVIDAttempt is somebody who says to be a pod, and is proven to hold its key.
type SVIDAttempt struct {
	// Token is for the API server alone.
	Token string
	CSR   []byte
	// Request is CSR, parsed. Its identity is the zero value or a workload's.
	Request *identity.Request
	Origin  string
}

// IssueSVID implements the service.
func (s *Server) IssueSVID(ctx context.Context, req *pb.IssueSVIDRequest) (*pb.IssueSVIDResponse, error) {
	resp, err := s.issueSVID(ctx, req)
	if err != nil {
		return nil, s.fail(ctx, "issue SVID", err)
	}
	resp.Time = timestamppb.New(s.now())
	return resp, nil
}

func (s *Server) issueSVID(ctx context.Context, req *pb.IssueSVIDRequest) (*pb.IssueSVIDResponse, error) {
	if err := s.admitCall(ctx); err != nil {
		return nil, err
	}
	if n := len(req.GetToken()); n == 0 || n > MaxPodToken {
		return nil, fmt.Errorf("%w: a token of %d bytes, expected 1 to %d", ErrInvalid, n, MaxPodToken)
	}
	csr, err := identity.ParseRequest(req.GetCsr())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if csr.ID != (identity.ID{}) && csr.ID.Kind != identity.Workload {
		return nil, fmt.Errorf("%w: certificate request: expected no identity or a workload's, found %s", ErrInvalid, csr.ID)
	}
	return s.backend.IssueSVID(ctx, SVIDAttempt{Token: req.GetToken(), CSR: req.GetCsr(), Request: csr, Origin: rpc.Origin(ctx)})
}
