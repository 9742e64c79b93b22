package operator

import (
	"context"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
)

// GetTrust tells the roots, and what else proves this replica to a pod.
func (s *Server) GetTrust(context.Context, *pb.GetTrustRequest) (*pb.GetTrustResponse, error) {
	out := &pb.GetTrustResponse{TrustDomain: s.TrustDomain, Region: s.Self.Region, Cluster: s.Self.Cluster}
	for _, root := range s.Trust.Roots() {
		out.Roots = append(out.Roots, root.Raw)
		out.Pins = append(out.Pins, identity.CertKeyID(root).String())
	}
	return out, nil
}
