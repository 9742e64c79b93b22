package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
)

// Domains keep a signature made for one purpose from passing for another.
const (
	domainProof = "federator proof of unsealing v1\x00"
	domainList  = "federator trust list v1\x00"
)

// Nonce sizes in bytes that proofs accept.
const (
	minNonce = 16
	maxNonce = 256
)

// ProveUnseal shows that a candidate for voter could unseal the intermediate's
// key, by signing the leader's nonce (16 to 256 random bytes) with it.
func ProveUnseal(nonce []byte, key crypto.Signer) ([]byte, error) {
	if err := checkNonce(nonce); err != nil {
		return nil, err
	}
	return signDomain(domainProof, nonce, key)
}

// CheckProof checks the answer to a nonce that the caller made and uses once.
func CheckProof(nonce, proof []byte, intermediate *x509.Certificate) error {
	if err := checkNonce(nonce); err != nil {
		return err
	}
	if !verifyDomain(domainProof, nonce, proof, intermediate.PublicKey) {
		return errors.New("proof of unsealing: not signed with the intermediate's key: the candidate cannot unseal it; seal it to the candidate's recipient again")
	}
	return nil
}

func checkNonce(nonce []byte) error {
	if len(nonce) < minNonce || len(nonce) > maxNonce {
		return fmt.Errorf("nonce of %d bytes: expected %d to %d", len(nonce), minNonce, maxNonce)
	}
	return nil
}

func signDomain(domain string, message []byte, key crypto.Signer) ([]byte, error) {
	digest := domainDigest(domain, message)
	sig, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return sig, nil
}

func verifyDomain(domain string, message, sig []byte, pub crypto.PublicKey) bool {
	ec, ok := pub.(*ecdsa.PublicKey)
	digest := domainDigest(domain, message)
	return ok && ecdsa.VerifyASN1(ec, digest[:], sig)
}

func domainDigest(domain string, message []byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(domain), message...))
}
