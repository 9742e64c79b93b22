package enroll

import (
	"context"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
)

// TrustList asks a replica at address, proven by pins, for the signed trust list.
// It needs no certificate of one's own, so that a replica whose own was revoked
// can learn that. The caller verifies the list and bounds
// ctx; the clocks are not judged.
func (j *Joiner) TrustList(ctx context.Context, address, region string, pins identity.Pins) ([]byte, error) {
	client, done, err := j.connect(ctx, address, &prover{pins: pins, region: region, now: j.Now})
	if err != nil {
		return nil, err
	}
	defer done()
	resp, err := client.Hello(ctx, &pb.HelloRequest{})
	if err != nil {
		return nil, FromStatus(err)
	}
	return resp.GetTrustList(), nil
}
