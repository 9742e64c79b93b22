package enroll

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
)

// SVIDRequest is a pod that asks for the certificate of its service account.
type SVIDRequest struct {
	// ID is what its token stands for.
	ID identity.ID
	// Region and Cluster are the pod's own: nobody else gets the token.
	Region, Cluster string
	// Pins are of the roots that prove the replicas.
	Pins []identity.KeyID
	// Addresses of replicas of the pod's cluster, host:port.
	Addresses []string
	Token     string
	// Key is the pod's, and stays there.
	Key crypto.Signer
}

// SVID is a verified certificate of a workload.
type SVID struct {
	// Chain is leaf, intermediate, root in DER.
	Chain [][]byte
	Leaf  *x509.Certificate
	// Roots are all that the trust list names, the bundle of the trust domain.
	Roots []*x509.Certificate
	// Address is where it was given.
	Address string
}

// FetchSVID asks the replicas of the pod's cluster, in turn, for its certificate.
// A replica gets the token after it has proven that it is of the pod's region, and
// has said that it is of the pod's cluster.
func (j *Joiner) FetchSVID(ctx context.Context, r SVIDRequest) (*SVID, error) {
	csr, err := identity.NewRequest(r.Key, r.ID, nil, nil)
	if err != nil {
		return nil, err
	}
	var result *SVID
	err = j.each(ctx, r.Addresses, func(ctx context.Context, address string) (err error) {
		result, err = j.fetchAt(ctx, address, r, &pb.IssueSVIDRequest{Token: r.Token, Csr: csr})
		return err
	})
	return result, err
}

func (j *Joiner) fetchAt(ctx context.Context, address string, r SVIDRequest, req *pb.IssueSVIDRequest) (*SVID, error) {
	j.say("connecting to " + address)
	proof := &prover{pins: identity.Pins{TrustDomain: r.ID.TrustDomain, Roots: r.Pins}, region: r.Region, now: j.Now, wrong: ErrNotOurs}
	client, done, err := j.connect(ctx, address, proof)
	if err != nil {
		return nil, err
	}
	defer done()
	_, hello, err := j.greet(ctx, client, proof)
	if err != nil {
		return nil, err
	}
	if hello.GetCluster() != r.Cluster {
		return nil, fmt.Errorf("%w: expected a replica of cluster %s, found one of %.130q", ErrNotOurs, r.Cluster, hello.GetCluster())
	}
	j.say("the server is proven; asking for the certificate of " + r.ID.String())
	resp, err := client.IssueSVID(ctx, req)
	if err != nil {
		return nil, FromStatus(err)
	}
	return proof.svid(resp, r, address)
}

// svid checks the answer as if its sender had not been proven.
func (p *prover) svid(resp *pb.IssueSVIDResponse, r SVIDRequest, address string) (*SVID, error) {
	v, err := p.verifier(resp.GetTrustList())
	if err == nil {
		err = p.leaf(v, resp.GetSvidChain(), r.ID, r.Key.Public())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	leaf, err := identity.ParseCertificate(resp.GetSvidChain()[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return &SVID{Chain: resp.GetSvidChain(), Leaf: leaf, Roots: v.Roots(), Address: address}, nil
}
