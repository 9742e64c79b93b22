package identity

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"net"
	"time"
)

// Intermediate is the certificate authority of one region in one epoch, with its
// key unsealed. Every voter of the region can open it.
type Intermediate struct {
	Region      string
	Epoch       uint64
	Certificate *x509.Certificate
	// Root signed Certificate; it ends the chains that are handed out.
	Root *x509.Certificate

	trustDomain string
	key         crypto.Signer
}

// ReplicaRequest asks for the certificate of a replica of the signing region.
type ReplicaRequest struct {
	Name      string
	PublicKey crypto.PublicKey
	DNSNames  []string
	IPs       []net.IP
	// TTL zero means [ReplicaTTL]; it is cut to what the intermediate has left.
	TTL time.Duration
}

// OperatorRequest asks for the certificate of an operator.
type OperatorRequest struct {
	Name      string
	PublicKey crypto.PublicKey
	// TTL zero means [OperatorTTL]; it is cut to what the intermediate has left.
	TTL time.Duration
}

// OpenIntermediate joins an intermediate's certificate with its unsealed key
// (PKCS #8, from [Unseal]) and checks that the root signed it.
func OpenIntermediate(certDER, rootDER, key []byte) (*Intermediate, error) {
	signer, err := ParseKey(key)
	if err != nil {
		return nil, fmt.Errorf("intermediate key: %w", err)
	}
	root, err := parseRoot(rootDER)
	if err != nil {
		return nil, err
	}
	cert, err := ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("intermediate: %w", err)
	}
	td, err := authorityOf(cert)
	if err != nil {
		return nil, err
	}
	region, epoch, err := regionOf(cert)
	if err != nil {
		return nil, err
	}
	if err := cert.CheckSignatureFrom(root); err != nil {
		return nil, fmt.Errorf("intermediate of %s is not signed by root %q: %w", region, root.Subject.CommonName, err)
	}
	if err := checkPair(cert, signer); err != nil {
		return nil, fmt.Errorf("intermediate of %s: %w", region, err)
	}
	return &Intermediate{Region: region, Epoch: epoch, Certificate: cert, Root: root, trustDomain: td, key: signer}, nil
}

// TrustDomain is the name of the domain that the intermediate belongs to.
func (i *Intermediate) TrustDomain() string { return i.trustDomain }

// KeyID is what the list names the intermediate by.
func (i *Intermediate) KeyID() KeyID { return CertKeyID(i.Certificate) }

// MarshalKey encodes the private key, to be given to [Seal] and nothing else.
func (i *Intermediate) MarshalKey() ([]byte, error) { return MarshalKey(i.key) }

// Signer is the unsealed key, for [ProveUnseal].
func (i *Intermediate) Signer() crypto.Signer { return i.key }

// SignReplica returns the chain leaf, intermediate, root in DER.
func (i *Intermediate) SignReplica(r ReplicaRequest, now time.Time) ([][]byte, error) {
	id := ReplicaID(i.trustDomain, i.Region, r.Name)
	if err := checkNames(r.DNSNames, r.IPs); err != nil {
		return nil, err
	}
	return i.signLeaf(leafTemplate(id, r.DNSNames, r.IPs, now, ttlOr(r.TTL, ReplicaTTL)), id, r.PublicKey, now)
}

// SignOperator returns the chain leaf, intermediate, root in DER.
func (i *Intermediate) SignOperator(r OperatorRequest, now time.Time) ([][]byte, error) {
	id := OperatorID(i.trustDomain, r.Name)
	return i.signLeaf(leafTemplate(id, nil, nil, now, ttlOr(r.TTL, OperatorTTL)), id, r.PublicKey, now)
}

// SignRequest answers a replica's request for the identity that it names, which
// must be of this region; ttl zero means [ReplicaTTL]. Whether the key may have
// that identity is for the caller to know: from a redeemed token, or because it
// is the replica's recorded key. A voter signs its own request with it.
func (i *Intermediate) SignRequest(r *Request, ttl time.Duration, now time.Time) ([][]byte, error) {
	if r.ID.Kind != Replica || r.ID.TrustDomain != i.trustDomain || r.ID.Region != i.Region {
		return nil, fmt.Errorf("request for %s: expected a replica of region %s in %s", r.ID, i.Region, i.trustDomain)
	}
	return i.SignReplica(ReplicaRequest{Name: r.ID.Name, PublicKey: r.PublicKey, DNSNames: r.DNSNames, IPs: r.IPs, TTL: ttl}, now)
}

func (i *Intermediate) signLeaf(template *x509.Certificate, id ID, pub crypto.PublicKey, now time.Time) ([][]byte, error) {
	if err := id.Validate(); err != nil {
		return nil, err
	}
	if err := checkP256(pub); err != nil {
		return nil, err
	}
	if err := checkTime("intermediate of "+i.Region, i.Certificate, now); err != nil {
		return nil, err
	}
	template.NotAfter = earlier(template.NotAfter, i.Certificate.NotAfter)
	leaf, err := sign(template, i.Certificate, pub, i.key)
	if err != nil {
		return nil, err
	}
	return [][]byte{leaf.Raw, i.Certificate.Raw, i.Root.Raw}, nil
}

func ttlOr(ttl, otherwise time.Duration) time.Duration {
	if ttl <= 0 {
		return otherwise
	}
	return ttl
}
