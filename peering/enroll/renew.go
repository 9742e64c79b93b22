package enroll

import (
	"context"
	"crypto"
	"fmt"
	"net"
	"time"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
)

// RenewRequest is a replica that lost its certificate to time.
type RenewRequest struct {
	// ID is the replica's own, and Key the one that it enrolled with.
	ID  identity.ID
	Key crypto.Signer
	// Pins are of the roots it knew.
	Pins     []identity.KeyID
	DNSNames []string
	IPs      []net.IP
	// Addresses of replicas of its own region, host:port.
	Addresses []string
}

// Renewed is a verified new certificate.
type Renewed struct {
	// Chain is in DER, leaf first; TrustList is the list that vouches for it.
	Chain     [][]byte
	TrustList []byte
	// Skew is how far the issuer's clock is ahead of ours.
	Skew time.Duration
}

// Renew asks the replicas of the region, in turn, for a new certificate of an
// enrolled key.
func (j *Joiner) Renew(ctx context.Context, r RenewRequest) (*Renewed, error) {
	csr, err := identity.NewRequest(r.Key, r.ID, r.DNSNames, r.IPs)
	if err != nil {
		return nil, err
	}
	req := &pb.RenewRequest{Region: r.ID.Region, Name: r.ID.Name, Csr: csr}
	var result *Renewed
	err = j.each(ctx, r.Addresses, func(ctx context.Context, address string) (err error) {
		result, err = j.renewAt(ctx, address, r, req)
		return err
	})
	return result, err
}

func (j *Joiner) renewAt(ctx context.Context, address string, r RenewRequest, req *pb.RenewRequest) (*Renewed, error) {
	j.say("connecting to " + address)
	proof := &prover{pins: identity.Pins{TrustDomain: r.ID.TrustDomain, Roots: r.Pins}, region: r.ID.Region, now: j.Now}
	client, done, err := j.connect(ctx, address, proof)
	if err != nil {
		return nil, err
	}
	defer done()
	skew, err := j.hello(ctx, client, proof)
	if err != nil {
		return nil, err
	}
	resp, err := client.Renew(ctx, req)
	if err != nil {
		return nil, FromStatus(err)
	}
	v, err := proof.verifier(resp.GetTrustList())
	if err == nil {
		err = proof.leaf(v, resp.GetSvidChain(), r.ID, r.Key.Public())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return &Renewed{Chain: resp.GetSvidChain(), TrustList: resp.GetTrustList(), Skew: skew}, nil
}
