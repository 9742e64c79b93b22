package federation

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
)

// Place is what a new replica is told of itself. Empty fields get a default.
type Place struct {
	DataDir string
	Region  string
	Cluster string
	Zone    string
	// Name is unique in the region; default: the host's name.
	Name string
	// PeerAddress, GossipAddress and DNSAddress are host:port as others reach them.
	// Default: this machine's address with ports 7443 and 7946, and no DNS.
	PeerAddress   string
	GossipAddress string
	DNSAddress    string
	// Build is the version of this binary, for people.
	Build string
}

// InitOptions are what [Init] founds.
type InitOptions struct {
	Place
	TrustDomain string
	// RecoveryRecipient is the public half of a recovery key that was made
	// elsewhere, by [NewRecoveryKey], and is kept there. Empty makes a new one.
	RecoveryRecipient string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// InitResult is what the operator has to keep.
type InitResult struct {
	Replica catalog.Replica
	// RecoveryKey opens the root of the trust domain when its region is lost. It is
	// shown once and kept nowhere. Empty if only its recipient was given.
	RecoveryKey string
	// RecoveryRecipient is its public half, for federator backup --recipient.
	RecoveryRecipient string
	// RootPin is the SHA-256 of the root's key, which tokens pin.
	RootPin string
}

// founding is what the first start of a region's first replica writes into its
// Raft.
type founding struct {
	Found state.Found `json:"found"`
	// Restored: the region exists already; only its secrets are written anew.
	Restored bool              `json:"restored,omitempty"`
	Secrets  *state.PutSecrets `json:"secrets"`
	Trust    *state.PutTrust   `json:"trust,omitempty"`
}

// Init makes a trust domain and its first region, with this replica as its first.
func Init(o InitOptions) (InitResult, error) {
	now := time.Now
	if o.Now != nil {
		now = o.Now
	}
	if err := identity.ValidateTrustDomain(o.TrustDomain); err != nil {
		return InitResult{}, err
	}
	key, recipient, err := o.recovery()
	if err != nil {
		return InitResult{}, err
	}
	lock, err := o.claim()
	if err != nil {
		return InitResult{}, err
	}
	defer lock.Close()
	dir, replica, keys, err := o.prepare()
	if err != nil {
		return InitResult{}, err
	}
	root, err := identity.NewRoot(o.TrustDomain, now())
	if err != nil {
		return InitResult{}, err
	}
	ca, err := firstIntermediate(root, replica.Region, now())
	if err != nil {
		return InitResult{}, err
	}
	cert := ca.Certificate
	list, err := root.SignList(desiredList(o.TrustDomain, identity.List{Roots: [][]byte{root.Certificate.Raw}},
		[]*catalog.Region{{Name: replica.Region, Epoch: 1, Intermediate: cert.Raw}}, now()))
	if err != nil {
		return InitResult{}, err
	}
	secrets, err := firstSecrets(root, ca, keys.seal.Recipient(), recipient)
	if err != nil {
		return InitResult{}, err
	}
	f := founding{
		Found: state.Found{TrustDomain: o.TrustDomain, Region: replica.Region, Epoch: 1, Authority: true,
			Founder: founderOf(replica.PublicKey), Replica: replica, Intermediate: cert.Raw},
		Secrets: secrets,
		Trust:   &state.PutTrust{List: list},
	}
	if err := keys.certify(ca, replica, now()); err != nil {
		return InitResult{}, err
	}
	card := Card{Format: cardFormat, TrustDomain: o.TrustDomain, Authority: replica.Region, Replica: replica}
	if err := dir.settle(card, &f, list, []byte(nil)); err != nil {
		return InitResult{}, err
	}
	return InitResult{Replica: replica, RecoveryKey: key, RecoveryRecipient: recipient, RootPin: root.KeyID().String()}, nil
}

// recovery returns the recipient that was given, or a new key with its own.
func (o *InitOptions) recovery() (key, recipient string, err error) {
	if o.RecoveryRecipient == "" {
		return NewRecoveryKey()
	}
	if err := identity.ValidateRecipient(o.RecoveryRecipient); err != nil {
		return "", "", fmt.Errorf("recovery recipient: %w; make one with federator recovery-key", err)
	}
	return "", o.RecoveryRecipient, nil
}

// NewRecoveryKey makes a key that can open the root of a trust domain that is
// founded with its recipient.
func NewRecoveryKey() (key, recipient string, err error) {
	seal, err := identity.NewSealKey()
	if err != nil {
		return "", "", err
	}
	return seal.Secret(), seal.Recipient(), nil
}

// firstIntermediate makes the authority of the first region.
func firstIntermediate(root *identity.Root, region string, now time.Time) (*identity.Intermediate, error) {
	key, err := identity.NewKey()
	if err != nil {
		return nil, err
	}
	cert, err := root.SignIntermediate(region, 1, key.Public(), now)
	if err != nil {
		return nil, err
	}
	keyDER, err := identity.MarshalKey(key)
	if err != nil {
		return nil, err
	}
	return identity.OpenIntermediate(cert.Raw, root.Certificate.Raw, keyDER)
}

// firstSecrets seals the authorities and a new gossip key for the first replica.
func firstSecrets(root *identity.Root, ca *identity.Intermediate, recipient, recovery string) (*state.PutSecrets, error) {
	rootKey, err := root.MarshalKey()
	if err != nil {
		return nil, err
	}
	sealedRoot, err := sealCA(caSecret{Certificate: root.Certificate.Raw, Key: rootKey, Recovery: recovery}, []string{recipient, recovery})
	if err != nil {
		return nil, err
	}
	gossipKey := make([]byte, 32)
	rand.Read(gossipKey) // never fails: crypto/rand crashes the program instead
	sealedRing, err := sealKeyring(keyringSecret{Version: 1, Keys: [][]byte{gossipKey}}, []string{recipient})
	if err != nil {
		return nil, err
	}
	secrets, err := regionSecrets(ca, recipient, sealedRing)
	if err != nil {
		return nil, err
	}
	secrets.Secrets = append(secrets.Secrets, state.SecretWrite{Name: secretRoot, Blob: sealedRoot, Recipients: []string{recipient, recovery}})
	return secrets, nil
}

// regionSecrets seals a region's authority to its first replica.
func regionSecrets(ca *identity.Intermediate, recipient string, sealedRing []byte) (*state.PutSecrets, error) {
	key, err := ca.MarshalKey()
	if err != nil {
		return nil, err
	}
	sealed, err := sealCA(caSecret{Certificate: ca.Certificate.Raw, Root: ca.Root.Raw, Key: key}, []string{recipient})
	if err != nil {
		return nil, err
	}
	return &state.PutSecrets{Secrets: []state.SecretWrite{
		{Name: secretIntermediate, Blob: sealed, Recipients: []string{recipient}},
		{Name: secretKeyring, Blob: sealedRing, Recipients: []string{recipient}},
	}}, nil
}

// ownKeys are the private keys of a replica.
type ownKeys struct {
	source *identity.Source
	seal   *identity.SealKey
}

// claim checks the place and keeps others out of its data directory, which holds
// no replica yet, until the lock is closed.
func (p *Place) claim() (lock *dirLock, err error) {
	p.fill()
	if err := p.validate(); err != nil {
		return nil, err
	}
	return dataDir(p.DataDir).claim()
}

// prepare makes or finds the replica's own keys in a directory that was claimed:
// a join that is tried again uses the same ones.
func (p *Place) prepare() (dataDir, catalog.Replica, ownKeys, error) {
	dir := dataDir(p.DataDir)
	keys, err := dir.keys()
	if err != nil {
		return dir, catalog.Replica{}, ownKeys{}, err
	}
	spki, err := keys.source.SPKI()
	if err != nil {
		return dir, catalog.Replica{}, ownKeys{}, err
	}
	disk, err := dir.diskID()
	if err != nil {
		return dir, catalog.Replica{}, ownKeys{}, err
	}
	return dir, catalog.Replica{
		Name: p.Name, Region: p.Region, Cluster: p.Cluster, Zone: p.Zone, DiskID: disk,
		PeerAddress: p.PeerAddress, GossipAddress: p.GossipAddress, DNSAddress: p.DNSAddress,
		Recipient: keys.seal.Recipient(), PublicKey: spki,
		MinProtocol: state.MinProtocol, MaxProtocol: state.Protocol, Build: p.Build,
	}, keys, nil
}

func (p *Place) fill() {
	if p.Name == "" {
		host, _ := os.Hostname()
		host, _, _ = strings.Cut(strings.ToLower(host), ".")
		p.Name = strings.Trim(strings.Map(labelRune, host), "-")
	}
	setDefault(&p.PeerAddress, net.JoinHostPort(ownAddress(), "7443"))
	setDefault(&p.GossipAddress, net.JoinHostPort(ownAddress(), "7946"))
}

func labelRune(r rune) rune {
	if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
		return r
	}
	return '-'
}

// ownAddress is an address of this machine.
func ownAddress() string {
	addrs, _ := net.InterfaceAddrs()
	return firstOutside(addrs)
}

// firstOutside is the first address that is not loopback or of one link only, of IPv4
// if there is one; 127.0.0.1 if there is none at all.
func firstOutside(addrs []net.Addr) string {
	six := ""
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			return n.IP.String()
		default:
			six = cmp.Or(six, n.IP.String())
		}
	}
	return cmp.Or(six, "127.0.0.1")
}

func (p *Place) validate() error {
	var errs []error
	if p.DataDir == "" {
		errs = append(errs, errors.New("expected a data directory; give --data-dir"))
	}
	errs = append(errs, catalog.ValidateLabel("region", p.Region), catalog.ValidateCluster(p.Cluster), catalog.ValidateLabel("name", p.Name))
	if p.Zone != "" {
		errs = append(errs, catalog.ValidateLabel("zone", p.Zone))
	}
	errs = append(errs, validateHostPort("peer address", p.PeerAddress), validateHostPort("gossip address", p.GossipAddress))
	if p.DNSAddress != "" {
		errs = append(errs, validateHostPort("DNS address", p.DNSAddress))
	}
	return errors.Join(errs...)
}

// keys opens the replica's own keys, or makes them.
func (d dataDir) keys() (ownKeys, error) {
	if err := os.MkdirAll(d.identity(), 0o700); err != nil {
		return ownKeys{}, err
	}
	source, err := identity.OpenSource(d.identity())
	if err != nil {
		return ownKeys{}, err
	}
	text, err := os.ReadFile(d.sealKey())
	if errors.Is(err, fs.ErrNotExist) {
		seal, err := identity.NewSealKey()
		if err != nil {
			return ownKeys{}, err
		}
		return ownKeys{source, seal}, writeFile(d.sealKey(), []byte(seal.Secret()+"\n"))
	}
	if err != nil {
		return ownKeys{}, err
	}
	seal, err := identity.ParseSealKey(string(text))
	if err != nil {
		return ownKeys{}, fmt.Errorf("%s: %w", d.sealKey(), err)
	}
	return ownKeys{source, seal}, nil
}

// diskID names the data directory, so that an emptied one is never mistaken for
// what it was.
func (d dataDir) diskID() (string, error) {
	path := d.path("disk-id")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		id := make([]byte, 8)
		rand.Read(id)
		b = []byte(hex.EncodeToString(id))
		return string(b), writeFile(path, b)
	}
	return string(b), err
}

// certify signs the replica's own first certificate with the region's authority.
func (k ownKeys) certify(ca *identity.Intermediate, r catalog.Replica, now time.Time) error {
	names, ips := sanOf(r)
	chain, err := ca.SignReplica(identity.ReplicaRequest{Name: r.Name, PublicKey: k.source.Signer().Public(), DNSNames: names, IPs: ips}, now)
	if err != nil {
		return err
	}
	return k.source.Replace(chain)
}

// sanOf returns the DNS names and addresses of a replica's certificate.
func sanOf(r catalog.Replica) (names []string, ips []net.IP) {
	host, _, _ := net.SplitHostPort(r.PeerAddress)
	if ip := net.ParseIP(host); ip != nil {
		return nil, []net.IP{ip}
	}
	return []string{host}, nil
}

// founderOf names the key that founds a region.
func founderOf(spki []byte) string { return identity.SPKIKeyID(spki).String() }

// settle writes what a new replica starts from; the card comes last, because its
// presence says that the rest is complete.
func (d dataDir) settle(card Card, f *founding, trustList, sealedRing []byte) error {
	verifier := identity.NewVerifier(card.TrustDomain)
	if list, err := identity.ReadList(trustList); err == nil {
		roots, err := parseCertificates(list.Roots)
		if err != nil {
			return err
		}
		verifier = identity.NewVerifier(card.TrustDomain, roots...)
	}
	if _, err := verifier.Update(trustList); err != nil {
		return err
	}
	if err := verifier.SaveList(d.trust()); err != nil {
		return err
	}
	if f != nil {
		b, err := json.MarshalIndent(f, "", "  ")
		if err != nil {
			return err
		}
		if err := writeFile(d.founding(), b); err != nil {
			return err
		}
		for _, s := range f.Secrets.Secrets {
			switch s.Name {
			case secretIntermediate:
				if err := writeFile(d.sealedCA(), s.Blob); err != nil {
					return err
				}
			case secretKeyring:
				sealedRing = s.Blob
			}
		}
	} else if err := d.foundNothing(); err != nil {
		return err
	}
	if err := writeFile(d.sealedRing(), sealedRing); err != nil {
		return err
	}
	return writeJSON(d.card(), card)
}
