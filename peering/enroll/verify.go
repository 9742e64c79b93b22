package enroll

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
)

// Bounds of an answer.
const (
	maxDirectory = 10_000
	maxWarnings  = 32
	maxWarning   = 1024
)

// verify checks the answer to r, as if its sender had not been proven.
func (p *prover) verify(resp *pb.EnrollResponse, r Request) (*Result, error) {
	td := p.pins.TrustDomain
	if resp.GetTrustDomain() != td || resp.GetRegion() != r.Replica.Region || resp.GetEpoch() == 0 {
		return nil, fmt.Errorf("expected an admission to region %s of %s, found %.64q of %.64q, epoch %d",
			r.Replica.Region, td, resp.GetRegion(), resp.GetTrustDomain(), resp.GetEpoch())
	}
	v, err := p.verifier(resp.GetTrustList())
	if err != nil {
		return nil, err
	}
	if err := p.credential(v, resp, r); err != nil {
		return nil, err
	}
	return &Result{
		TrustDomain: td, Region: resp.GetRegion(), AuthorityRegion: resp.GetAuthorityRegion(),
		Epoch: resp.GetEpoch(), Founding: resp.GetFounding(), Intermediate: resp.GetIntermediate(),
		Chain: resp.GetSvidChain(), Roots: raw(v.Roots()), TrustList: resp.GetTrustList(),
		Directory: directory(resp.GetDirectory()), SealedKeyring: resp.GetSealedKeyring(),
		Protocol: int(min(resp.GetProtocol(), maxProtocol)), Warnings: warnings(resp.GetWarnings()),
	}, nil
}

// credential checks what the joiner is to prove itself with from now on.
func (p *prover) credential(v *identity.Verifier, resp *pb.EnrollResponse, r Request) error {
	if !resp.GetFounding() {
		id := identity.ReplicaID(p.pins.TrustDomain, r.Replica.Region, r.Replica.Name)
		return p.leaf(v, resp.GetSvidChain(), id, r.Key.Public())
	}
	if r.IntermediateKey == nil {
		return errors.New("told to found the region, but brought no key for its CA")
	}
	ca, err := checkCA(v, resp.GetIntermediate(), r.Replica.Region, resp.GetEpoch())
	if err != nil {
		return err
	}
	return sameKey(ca, r.IntermediateKey.Public())
}

// leaf checks a chain: trusted, valid now, for the identity and for the key.
func (p *prover) leaf(v *identity.Verifier, chain [][]byte, id identity.ID, key crypto.PublicKey) error {
	got, err := v.VerifyChain(chain, p.now())
	if err != nil {
		return err
	}
	if got != id {
		return fmt.Errorf("expected a certificate for %s, found one for %s", id, got)
	}
	leaf, err := identity.ParseCertificate(chain[0])
	if err != nil {
		return err
	}
	return sameKey(leaf, key)
}

func raw(certs []*x509.Certificate) [][]byte {
	var out [][]byte
	for _, c := range certs {
		out = append(out, c.Raw)
	}
	return out
}

func sameKey(c *x509.Certificate, key crypto.PublicKey) error {
	type equaler interface{ Equal(crypto.PublicKey) bool }
	if own, ok := c.PublicKey.(equaler); !ok || !own.Equal(key) {
		return errors.New("the certificate is for another key than was asked for")
	}
	return nil
}

// directory keeps the entries that can be used; a wrong one costs a seed only.
func directory(in []*pb.Replica) []catalog.Replica {
	var out []catalog.Replica
	for _, p := range in[:min(len(in), maxDirectory)] {
		r, err := ReplicaFromWire(p)
		if err != nil {
			continue
		}
		r.PublicKey = p.GetPublicKey()
		if p.GetJoinedAt().CheckValid() == nil {
			r.JoinedAt = p.GetJoinedAt().AsTime()
		}
		out = append(out, r)
	}
	return out
}

func warnings(in []string) []string {
	var out []string
	for _, w := range in[:min(len(in), maxWarnings)] {
		if w = w[:min(len(w), maxWarning)]; printable(w) {
			out = append(out, w)
		}
	}
	return out
}
