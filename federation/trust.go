package federation

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/port"
)

func (r *Replica) tls() identity.TLS {
	return identity.TLS{Source: r.keys.source, Verifier: r.verifier, Now: time.Now}
}

// protocols says who may speak what on the port.
func (r *Replica) protocols() map[string]identity.Authoriser {
	td := r.card.TrustDomain
	return map[string]identity.Authoriser{
		port.Raft:   identity.AllowRegion(td, r.card.Replica.Region),
		port.Gossip: identity.AllowReplica(td),
		port.GRPC:   identity.AllowAny(identity.AllowReplica(td), identity.AllowOperator(td)),
	}
}

// openRing opens the gossip keys that the replica last knew.
func (d dataDir) openRing(key *identity.SealKey) (*gossip.Keyring, error) {
	blob, err := os.ReadFile(d.sealedRing())
	if err != nil {
		return nil, err
	}
	ring, err := unsealKeyring(blob, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.sealedRing(), err)
	}
	return gossip.NewKeyring(ring.Keys[0], ring.Keys[1:]...)
}

// openRenewal makes the renewer; a voter whose certificate has expired mints its
// own now, before anything listens.
func (r *Replica) openRenewal() error {
	self := r.card.Replica
	names, ips := sanOf(self)
	r.renewer = &identity.Renewer{
		Source: r.keys.source, Verifier: r.verifier,
		ID:       identity.ReplicaID(r.card.TrustDomain, self.Region, self.Name),
		DNSNames: names, IPs: ips, Renew: r.renew,
		Now: time.Now, Jitter: rand.Float64, Logger: r.log, Metrics: identity.NewRenewerMetrics(r.metrics),
	}
	if _, voter := r.vault.signer(); r.keys.source.Valid(time.Now()) || !voter {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.renewer.RenewNow(ctx); err != nil {
		return fmt.Errorf("the replica's certificate expired at %s and could not be renewed: %w", r.keys.source.NotAfter(), err)
	}
	r.log.Info("minted a new certificate, the old one had expired")
	return nil
}

// shorten renews a certificate that was signed for longer than is configured, as
// the first one of a founder is. It gives up when the new one is no shorter: it is
// the voters' configuration that counts.
func (r *Replica) shorten(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-r.founded:
	}
	lifetime := time.Duration(r.cfg.LeafLifetime)
	last := validFor(r.keys.source.Leaf())
	for last > lifetime+identity.Backdate && sleep(ctx, time.Second) {
		if err := r.renewer.RenewNow(ctx); err != nil {
			r.log.Debug("could not renew the certificate for a shorter time", "error", err)
			continue
		}
		now := validFor(r.keys.source.Leaf())
		if now >= last {
			r.log.Info("the region's voters sign certificates for longer than is configured here", "configured", lifetime, "signed", now)
			return nil
		}
		last = now
	}
	return nil
}

// validFor is how long a certificate is valid in all; 0 for none.
func validFor(leaf *x509.Certificate) time.Duration {
	if leaf == nil {
		return 0
	}
	return leaf.NotAfter.Sub(leaf.NotBefore)
}

// renew has a request certified: by the region's authority if it is unsealed
// here, else by a sibling over mTLS, else, when the certificate has expired, by
// a sibling that knows the enrolled key.
func (r *Replica) renew(ctx context.Context, request []byte) ([][]byte, error) {
	if ca, ok := r.vault.signer(); ok {
		return r.sign(ca, r.card.Replica, request)
	}
	if !r.keys.source.Valid(time.Now()) {
		return r.renewExpired(ctx)
	}
	return ask(ctx, r.peers, r.siblings(), 5*time.Second, func(ctx context.Context, c *grpc.ClientConn) ([][]byte, error) {
		answer, err := pb.NewSiblingsClient(c).Sign(ctx, &pb.SignRequest{Csr: request})
		return answer.GetSvidChain(), err
	})
}

// sign certifies the key of one of the region's replicas. The identity is the
// record's, whatever the request wishes.
func (r *Replica) sign(ca *identity.Intermediate, replica catalog.Replica, request []byte) ([][]byte, error) {
	req, err := identity.ParseRequest(request)
	if err != nil {
		return nil, err
	}
	names, ips := sanOf(replica)
	return ca.SignReplica(identity.ReplicaRequest{
		Name: replica.Name, PublicKey: req.PublicKey, DNSNames: names, IPs: ips, TTL: time.Duration(r.cfg.LeafLifetime),
	}, time.Now())
}

func (r *Replica) renewExpired(ctx context.Context) ([][]byte, error) {
	var addresses []string
	for _, s := range r.siblings() {
		if inner := r.innerAddress(s.Region, s.Name); inner != "" {
			addresses = append(addresses, inner)
		}
		addresses = append(addresses, s.PeerAddress)
	}
	var pins []identity.KeyID
	for _, root := range r.verifier.Roots() {
		pins = append(pins, identity.CertKeyID(root))
	}
	names, ips := sanOf(r.card.Replica)
	joiner := &enroll.Joiner{Now: time.Now}
	renewed, err := joiner.Renew(ctx, enroll.RenewRequest{
		ID:  identity.ReplicaID(r.card.TrustDomain, r.card.Replica.Region, r.card.Replica.Name),
		Key: r.keys.source.Signer(), Pins: pins, DNSNames: names, IPs: ips, Addresses: addresses,
	})
	if err != nil {
		return nil, err
	}
	r.learnTrust(renewed.TrustList)
	return renewed.Chain, nil
}

// learnTrust takes a signed trust list, from wherever it came: the signature
// counts, not the bearer.
func (r *Replica) learnTrust(list []byte) {
	if len(list) == 0 || bytes.Equal(list, r.verifier.Signed()) {
		return
	}
	changed, err := r.verifier.Update(list)
	if err != nil {
		r.log.Debug("a trust list was not taken", "error", err)
		return
	}
	if !changed {
		return
	}
	if err := r.verifier.SaveList(r.dir.trust()); err != nil {
		r.log.Error("the trust list could not be saved; it will be fetched again after a restart", "error", err)
	}
}

// followTrust takes every trust list that the authority region publishes; the
// guard then closes connections whose peer it revokes.
func (r *Replica) followTrust(ctx context.Context) error {
	watch := r.catalog.Watch()
	defer watch.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watch.Changed():
			watch.Take()
			r.catalog.Records(r.card.Authority, catalog.RecordTrust, func(rec *catalog.Record) bool {
				r.learnTrust(rec.Trust.List)
				return true
			})
		}
	}
}

// How often a replica that gets through to nobody asks whether it is still
// trusted, and how long its links must have been down.
const (
	askTrustEvery = 5 * time.Second
	askTrustAfter = 5 * time.Second
)

// followRemoval finds out that the own region was removed. Nobody trusts its
// certificates then, so no stream can say so: the signed trust list does, which
// anyone may ask for. A removed region forgets the others and serves its own
// clients only, until it joins anew.
func (r *Replica) followRemoval(ctx context.Context) error {
	removed := false
	for sleep(ctx, askTrustEvery) {
		for _, link := range r.importer.Status() {
			if !link.Synced && time.Since(link.LastEvent) > askTrustAfter && !r.isRevoked() {
				r.askTrust(ctx, link.Region)
			}
		}
		if is := r.isRevoked(); is && !removed {
			removed = true
			r.log.Error("this region was removed from the federation and serves its own clients only; to come back, empty the data directories and join with a new token")
			for _, region := range r.otherRegions() {
				r.tee.Forget(region)
			}
		}
	}
	return nil
}

// isRevoked reports whether the trust list revokes the authority that signed this
// replica's certificate, as it does when the region is removed.
func (r *Replica) isRevoked() bool {
	chain, err := parseCertificates(r.keys.source.Chain())
	if err != nil || len(chain) < 2 {
		return false
	}
	id := identity.CertKeyID(chain[1])
	return slices.ContainsFunc(r.verifier.List().Revoked, func(v identity.Revocation) bool { return v.KeyID == id })
}

// askTrust fetches the trust list from one of a region's replicas.
func (r *Replica) askTrust(ctx context.Context, region string) {
	pins := identity.Pins{TrustDomain: r.card.TrustDomain}
	for _, root := range r.verifier.Roots() {
		pins.Roots = append(pins.Roots, identity.CertKeyID(root))
	}
	replicas := r.replicasOf(region)
	if len(replicas) == 0 {
		return
	}
	one, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	joiner := &enroll.Joiner{Now: time.Now}
	list, err := joiner.TrustList(one, replicas[rand.IntN(len(replicas))].PeerAddress, region, pins)
	if err != nil {
		r.log.Debug("could not ask for the trust list", "peer", region, "error", err)
		return
	}
	r.learnTrust(list)
}

// followSecrets unseals what changes among the region's secrets, and keeps the
// gossip keys at hand for the next start.
func (r *Replica) followSecrets(ctx context.Context) error {
	select { // a founder's own secrets are written first
	case <-ctx.Done():
		return nil
	case <-r.founded:
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	saved := uint64(0)
	last := ""
	warn := func(message string, err error) { // not five times a second
		if err.Error() != last {
			last = err.Error()
			r.log.Error(message, "error", err)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		secrets := r.secrets()
		if err := r.vault.refresh(secrets); err != nil {
			warn("a secret of the region could not be unsealed", err)
		}
		for _, s := range secrets {
			if s.Name == secretKeyring && s.Generation != saved && r.vault.lockedOut(s.Name) == nil {
				if err := writeFile(r.dir.sealedRing(), s.Blob); err != nil {
					warn("the gossip keys could not be saved", err)
					continue
				}
				saved = s.Generation
			}
		}
	}
}

// removeFounding forgets what the region was founded with, once Raft has it.
func (d dataDir) removeFounding() error {
	if err := os.Remove(d.founding()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// foundNothing removes what an earlier init or join that was cut short wrote to found a
// region with.
func (d dataDir) foundNothing() error {
	if err := os.Remove(d.sealedCA()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.removeFounding()
}
