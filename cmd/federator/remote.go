package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/port"
)

// trustListFile is the trust list in an operator's directory, next to the key
// and the certificate.
const trustListFile = "trust-list.json"

// saveOperator completes an operator's directory, which holds its key already.
func saveOperator(dir string, source *identity.Source, r *pb.CreateOperatorResponse) error {
	chain, err := withRoot(r.GetChain(), r.GetRoots())
	if err != nil {
		return err
	}
	if err := source.Replace(chain); err != nil {
		return err
	}
	return identity.WriteFile(filepath.Join(dir, trustListFile), r.GetTrustList(), 0o600)
}

// withRoot completes a chain of leaf and intermediate with its root.
func withRoot(chain, roots [][]byte) ([][]byte, error) {
	if len(chain) != 2 {
		return chain, nil
	}
	intermediate, err := identity.ParseCertificate(chain[1])
	if err != nil {
		return nil, err
	}
	for _, der := range roots {
		root, err := x509.ParseCertificate(der)
		if err == nil && intermediate.CheckSignatureFrom(root) == nil {
			return [][]byte{chain[0], chain[1], der}, nil
		}
	}
	return nil, errors.New("the agent's answer holds no root for its certificate; try another agent")
}

// operatorCredentials are those of the operator whose directory it is.
func operatorCredentials(dir string) (credentials.TransportCredentials, error) {
	if _, err := os.Stat(filepath.Join(dir, trustListFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no operator's certificate; make one with \"federator operator create\"", dir)
	}
	source, err := identity.OpenSource(dir)
	if err != nil {
		return nil, err
	}
	id, err := source.ID()
	if err != nil {
		return nil, err
	}
	if !source.Valid(time.Now()) {
		return nil, fmt.Errorf("the certificate of %s in %s was good until %s; make a new one with \"federator operator create\"", id, dir, source.NotAfter().UTC().Format(time.RFC3339))
	}
	verifier, err := identity.LoadVerifier(id.TrustDomain, filepath.Join(dir, trustListFile))
	if err != nil {
		return nil, err
	}
	config := identity.TLS{Source: source, Verifier: verifier, Now: time.Now}.Client(port.GRPC, identity.AllowReplica(id.TrustDomain))
	return credentials.NewTLS(config), nil
}
