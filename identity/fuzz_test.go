package identity

import (
	"bytes"
	"encoding/json"
	"testing"
)

func FuzzParseID(f *testing.F) {
	for _, id := range []ID{ReplicaID(td, "us-west", "a"), OperatorID(td, "jo"), WorkloadID(td, "shop", "web"), AuthorityID(td)} {
		f.Add(id.String())
	}
	f.Add("spiffe://acme.example/federator/us-west/../a")
	f.Add("spiffe://acme.example/operator/a%2fb")
	f.Add("spiffe://u@acme.example:1/operator/a?b#c")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseIDString(s)
		if err != nil {
			return
		}
		if id.String() != s || id.Validate() != nil {
			t.Fatalf("%q parsed to %q, %v", s, id, id.Validate())
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	for _, id := range []ID{{}, ReplicaID(td, "us-west", "a")} {
		der, err := NewRequest(key, id, []string{"a.example"}, nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := ParseRequest(der)
		if err == nil && (len(r.SPKI) == 0 || len(r.DNSNames) > maxSubjects || len(r.IPs) > maxSubjects) {
			t.Fatalf("accepted %+v", r)
		}
	})
}

func FuzzUnseal(f *testing.F) {
	key, err := NewSealKey()
	if err != nil {
		f.Fatal(err)
	}
	secret := []byte("secret")
	blob, err := Seal(secret, key.Recipient())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("age-encryption.org/v1\n-> X25519 "), 0, byte(0))
	f.Add(blob, 30, byte(1))
	f.Add(blob[:len(blob)-1], len(blob)-1, byte(128))
	// Besides free bytes, a good blob is altered, so that the fuzzer, which runs
	// in processes with keys of their own, also reaches past the header.
	f.Fuzz(func(t *testing.T, free []byte, at int, flip byte) {
		_, _ = Unseal(free, key)
		if at < 0 || at >= len(blob) {
			return
		}
		altered := bytes.Clone(blob)
		altered[at] ^= flip
		if got, err := Unseal(altered, key); (err == nil) != (flip == 0) || err == nil && !bytes.Equal(got, secret) {
			t.Fatalf("byte %d altered by %#x: found %q, %v", at, flip, got, err)
		}
	})
}

func FuzzList(f *testing.F) {
	root, err := NewRoot(td, start)
	if err != nil {
		f.Fatal(err)
	}
	signed, err := root.SignList(List{TrustDomain: td, Sequence: 1, Roots: [][]byte{root.Certificate.Raw}, IssuedAt: start,
		Revoked: []Revocation{{Region: "us-west", Epoch: 1, At: start}}})
	if err != nil {
		f.Fatal(err)
	}
	var e envelope
	if err := json.Unmarshal(signed, &e); err != nil {
		f.Fatal(err)
	}
	f.Add(signed, e.List)
	f.Add([]byte(`{"format":1}`), []byte(`{}`))
	// The second argument is signed, so that the fuzzer reaches past the signature.
	f.Fuzz(func(t *testing.T, outer, payload []byte) {
		v := NewVerifier(td, root.Certificate)
		if _, err := v.Update(outer); err == nil && !bytes.Equal(v.current.payload, e.List) {
			t.Fatal("a forged list was accepted")
		}
		sig, err := signDomain(domainList, payload, root.key)
		if err != nil {
			t.Fatal(err)
		}
		resigned, err := json.Marshal(envelope{Format: listFormat, List: payload, Signer: root.KeyID(), Signature: sig})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewVerifier(td, root.Certificate).Update(resigned); err != nil {
			return
		}
		if l, err := ReadList(resigned); err != nil || l.Sequence == 0 || len(l.Roots) == 0 {
			t.Fatalf("opened %+v, %v", l, err)
		}
	})
}

func FuzzVerifyChain(f *testing.F) {
	root, err := NewRoot(td, start)
	if err != nil {
		f.Fatal(err)
	}
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	cert, err := root.SignIntermediate("us-west", 1, key.Public(), start)
	if err != nil {
		f.Fatal(err)
	}
	pins := Pins{TrustDomain: td, Roots: []KeyID{root.KeyID()}}
	f.Add(cert.Raw, cert.Raw, root.Certificate.Raw)
	f.Fuzz(func(t *testing.T, leaf, intermediate, anchor []byte) {
		if p, err := pins.VerifyChain([][]byte{leaf, intermediate, anchor}); err == nil {
			t.Fatalf("nothing was signed, yet %s is proven", p.ID)
		}
	})
}
