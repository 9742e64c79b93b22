package identity_test

import (
	"fmt"
	"time"

	"github.com/federator/federator/identity"
)

// A trust domain from nothing: the root certifies the intermediate of a region
// and publishes the list; the intermediate certifies a replica; any verifier
// that knows the root and the list can tell who that is.
func Example() {
	now := time.Now()
	root, err := identity.NewRoot("acme.example", now)
	exitOn(err)

	key, err := identity.NewKey()
	exitOn(err)
	cert, err := root.SignIntermediate("us-west", 1, key.Public(), now)
	exitOn(err)
	list, err := root.SignList(identity.List{
		TrustDomain:   "acme.example",
		Sequence:      1,
		Roots:         [][]byte{root.Certificate.Raw},
		Intermediates: []identity.ListedIntermediate{{Region: "us-west", Epoch: 1, KeyID: identity.CertKeyID(cert)}},
		IssuedAt:      now,
	})
	exitOn(err)

	// The region keeps the key sealed to its voters.
	voter, err := identity.NewSealKey()
	exitOn(err)
	plain, err := identity.MarshalKey(key)
	exitOn(err)
	sealed, err := identity.Seal(plain, voter.Recipient())
	exitOn(err)
	plain, err = identity.Unseal(sealed, voter)
	exitOn(err)
	west, err := identity.OpenIntermediate(cert.Raw, root.Certificate.Raw, plain)
	exitOn(err)

	source, err := identity.NewSource()
	exitOn(err)
	chain, err := west.SignReplica(identity.ReplicaRequest{Name: "a", PublicKey: source.Signer().Public()}, now)
	exitOn(err)

	verifier := identity.NewVerifier("acme.example", root.Certificate)
	_, err = verifier.Update(list)
	exitOn(err)
	id, err := verifier.VerifyChain(chain, now)
	exitOn(err)
	fmt.Println(id)
	// Output: spiffe://acme.example/federator/us-west/a
}

func exitOn(err error) {
	if err != nil {
		panic(err)
	}
}
