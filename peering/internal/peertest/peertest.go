// Package peertest makes whole trust domains for tests: real roots, regions and
// replicas, with ports and dialers as a replica has them.
package peertest

import (
	"log/slog"
	"testing"
	"time"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/port"
)

// TrustDomain is the name of every domain made here.
const TrustDomain = "acme.example"

// Domain is a trust domain with regions.
type Domain struct {
	t       testing.TB
	Root    *identity.Root
	list    identity.List
	regions map[string]*identity.Intermediate
	all     []*Party
}

// Party is a replica or an operator with a certificate.
type Party struct {
	ID       identity.ID
	Source   *identity.Source
	Verifier *identity.Verifier
	Guard    *identity.Guard
	d        *Domain
}

// New makes a domain.
func New(t testing.TB) *Domain {
	t.Helper()
	root, err := identity.NewRoot(TrustDomain, time.Now())
	must(t, err)
	return &Domain{
		t: t, Root: root, regions: map[string]*identity.Intermediate{},
		list: identity.List{TrustDomain: TrustDomain, Roots: [][]byte{root.Certificate.Raw}},
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Pins are of the domain's root.
func (d *Domain) Pins() []identity.KeyID { return []identity.KeyID{d.Root.KeyID()} }

// List signs the trust list as it is now.
func (d *Domain) List() []byte {
	d.t.Helper()
	signed, err := d.Root.SignList(d.list)
	must(d.t, err)
	return signed
}

// publish gives a changed list to everyone.
func (d *Domain) publish() {
	d.t.Helper()
	d.list.Sequence++
	d.list.IssuedAt = time.Now()
	signed := d.List()
	for _, p := range d.all {
		_, err := p.Verifier.Update(signed)
		must(d.t, err)
	}
}

// Enlist puts the key of a region's CA, in its first epoch, on the list.
func (d *Domain) Enlist(region string, key identity.KeyID) {
	d.t.Helper()
	d.list.Intermediates = append(d.list.Intermediates, identity.ListedIntermediate{Region: region, Epoch: 1, KeyID: key})
	d.publish()
}

// Revoke ends the party's key, and tells everyone.
func (d *Domain) Revoke(p *Party) {
	d.t.Helper()
	d.list.Revoked = append(d.list.Revoked, identity.Revocation{KeyID: identity.CertKeyID(p.Source.Leaf()), Reason: "test", At: time.Now()})
	d.publish()
}

// Region returns the CA of a region, made on first use.
func (d *Domain) Region(name string) *identity.Intermediate {
	d.t.Helper()
	if i, ok := d.regions[name]; ok {
		return i
	}
	key, err := identity.NewKey()
	must(d.t, err)
	cert, err := d.Root.SignIntermediate(name, 1, key.Public(), time.Now())
	must(d.t, err)
	der, err := identity.MarshalKey(key)
	must(d.t, err)
	i, err := identity.OpenIntermediate(cert.Raw, d.Root.Certificate.Raw, der)
	must(d.t, err)
	d.regions[name] = i
	d.Enlist(name, i.KeyID())
	return i
}

// Replica makes a replica of a region, with a certificate made at the time.
func (d *Domain) Replica(region, name string, at time.Time) *Party {
	d.t.Helper()
	p := d.party(identity.ReplicaID(TrustDomain, region, name))
	d.sign(p, at)
	return p
}

// Renew gives a replica a new certificate for its key.
func (d *Domain) Renew(p *Party) {
	d.t.Helper()
	d.sign(p, time.Now())
}

func (d *Domain) sign(p *Party, at time.Time) {
	d.t.Helper()
	chain, err := d.Region(p.ID.Region).SignReplica(identity.ReplicaRequest{Name: p.ID.Name, PublicKey: p.Source.Signer().Public()}, at)
	must(d.t, err)
	must(d.t, p.Source.Replace(chain))
}

// Operator makes an operator with a certificate.
func (d *Domain) Operator(region, name string) *Party {
	d.t.Helper()
	p := d.party(identity.OperatorID(TrustDomain, name))
	chain, err := d.Region(region).SignOperator(identity.OperatorRequest{Name: name, PublicKey: p.Source.Signer().Public()}, time.Now())
	must(d.t, err)
	must(d.t, p.Source.Replace(chain))
	return p
}

func (d *Domain) party(id identity.ID) *Party {
	d.t.Helper()
	source, err := identity.NewSource()
	must(d.t, err)
	verifier := identity.NewVerifier(TrustDomain, d.Root.Certificate)
	if d.list.Sequence > 0 {
		_, err = verifier.Update(d.List())
		must(d.t, err)
	}
	p := &Party{ID: id, Source: source, Verifier: verifier, Guard: identity.NewGuard(verifier), d: d}
	d.all = append(d.all, p)
	return p
}

// TLS is what the party proves itself with.
func (p *Party) TLS() identity.TLS {
	return identity.TLS{Source: p.Source, Verifier: p.Verifier, Now: time.Now}
}

// Dialer makes the party's dialer.
func (p *Party) Dialer() *port.Dialer { return &port.Dialer{TLS: p.TLS(), Guard: p.Guard} }

// Port opens a port on loopback as a replica has it, with options changed by
// change, and runs it until the test ends.
func (p *Party) Port(change func(*port.Options)) *port.Port {
	t := p.d.t
	t.Helper()
	replica := identity.AllowReplica(TrustDomain)
	opt := port.Options{
		Address: "127.0.0.1:0", TLS: p.TLS(), Guard: p.Guard, Log: slog.New(slog.DiscardHandler),
		Protocols: map[string]identity.Authoriser{
			port.Raft:   identity.AllowRegion(TrustDomain, p.ID.Region),
			port.Gossip: replica,
			port.GRPC:   identity.AllowAny(replica, identity.AllowOperator(TrustDomain)),
		},
	}
	if change != nil {
		change(&opt)
	}
	opened, err := port.Listen(opt)
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- opened.Run(t.Context()) }()
	t.Cleanup(func() {
		must(t, opened.Close())
		must(t, <-done)
	})
	return opened
}
