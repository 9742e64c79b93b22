package federation

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
)

// RecoverRegion makes the stopped replica of a data directory the only one of a
// region that lost its quorum for good. The other replicas must join anew.
func RecoverRegion(path string) (catalog.Replica, error) {
	dir := dataDir(path)
	card, err := dir.readCard()
	if err != nil {
		return catalog.Replica{}, err
	}
	lock, err := dir.lock()
	if err != nil {
		return catalog.Replica{}, err
	}
	defer lock.Close()
	if err := dir.restored(); err != nil {
		return catalog.Replica{}, err
	}
	if _, err := os.Stat(dir.sealedCA()); err != nil {
		return catalog.Replica{}, fmt.Errorf("replica %s does not hold the certificate authority of region %s, because it was no voter: recover the region on one that was (the file %s is there)",
			card.Replica.Name, card.Replica.Region, dir.sealedCA())
	}
	_, err = state.Recover(dir.raft(), state.OfflineOptions{RaftID: card.Replica.RaftID(), Note: offlineNote("recover", card.Replica)})
	return card.Replica, err
}

// offlineNote says in the audit trail who did what to the region, and where.
func offlineNote(action string, replica catalog.Replica) state.AuditEntry {
	host, _ := os.Hostname()
	return state.AuditEntry{
		Time: time.Now().UTC(), Actor: fmt.Sprintf("uid:%d@%s", os.Getuid(), replica.Name), From: "offline on " + host,
		Action: action, Detail: "the region carries on with replica " + replica.Name + " alone",
	}
}

// backupHeader is the first line of a backup file; the state follows it.
type backupHeader struct {
	Format      int    `json:"format"`
	TrustDomain string `json:"trustDomain"`
	Authority   string `json:"authority"`
	Region      string `json:"region"`
	// Keys hold the region's certificate authorities and gossip keys, sealed to the
	// recipients that the operator named; empty if none were.
	Keys []byte `json:"keys,omitempty"`
	// TrustList and Seeds are what a replica needs to find the others.
	TrustList []byte            `json:"trustList"`
	Seeds     []catalog.Replica `json:"seeds,omitempty"`
}

const (
	backupFormat = 1
	// maxBackupHeader bounds the first line, in bytes.
	maxBackupHeader = 8 << 20
)

// backupKeys is what the Keys of a backup hold.
type backupKeys struct {
	Intermediate caSecret      `json:"intermediate"`
	Root         *caSecret     `json:"root,omitempty"`
	Keyring      keyringSecret `json:"keyring"`
}

// backupHead returns the first line of a backup whose keys the recipients can
// open.
func (r *Replica) backupHead(recipients []string) ([]byte, error) {
	head := backupHeader{
		Format: backupFormat, TrustDomain: r.card.TrustDomain, Authority: r.card.Authority,
		Region: r.card.Replica.Region, TrustList: r.agreedTrust(), Seeds: r.everybody(),
	}
	if len(recipients) > 0 {
		keys, err := r.vault.export()
		if err != nil {
			return nil, err
		}
		if head.Keys, err = sealJSON(keys, recipients); err != nil {
			return nil, err
		}
	}
	line, err := json.Marshal(head)
	return append(line, '\n'), err
}

// export returns all that is open here, to be sealed at once.
func (v *vault) export() (keys backupKeys, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.intermediate == nil {
		return keys, errors.New("this replica does not hold the region's certificate authority; take the backup on a voter, see federator status")
	}
	keys.Keyring = v.keyring
	keys.Intermediate = caSecret{Certificate: v.intermediate.Certificate.Raw, Root: v.intermediate.Root.Raw}
	if keys.Intermediate.Key, err = v.intermediate.MarshalKey(); err != nil || v.root == nil {
		return keys, err
	}
	keys.Root = &caSecret{Certificate: v.root.Certificate.Raw, Recovery: v.recovery}
	keys.Root.Key, err = v.root.MarshalKey()
	return keys, err
}

// RestoreOptions say what a region is restored from, and where.
type RestoreOptions struct {
	// Place is the replica that carries the region on. In a data directory that
	// still has its replica.json and identity only DataDir counts.
	Place
	Archive io.Reader
	// Key opens the keys of the backup: the private half of a recipient it was
	// taken for. Not needed in a data directory that kept its identity.
	Key string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Restore makes a replica that carries on a region from a backup, as its only
// one. At its first start it asks the authority region for a new epoch.
func Restore(o RestoreOptions) (catalog.Replica, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	archive := bufio.NewReaderSize(o.Archive, 64<<10)
	head, err := readBackupHeader(archive)
	if err != nil {
		return catalog.Replica{}, err
	}
	dir := dataDir(o.DataDir)
	card, err := dir.readCard()
	if errors.Is(err, ErrNotFounded) {
		return o.restoreAnew(head, archive)
	}
	if err != nil {
		return catalog.Replica{}, err
	}
	lock, err := dir.lock()
	if err != nil {
		return catalog.Replica{}, err
	}
	defer lock.Close()
	return card.Replica, dir.restoring(func() error { return restoreState(dir, card.Replica, head, archive) })
}

func readBackupHeader(archive *bufio.Reader) (backupHeader, error) {
	var head backupHeader
	line, err := readLine(archive, maxBackupHeader)
	if err != nil {
		return head, fmt.Errorf("backup: %w", err)
	}
	if err := json.Unmarshal(line, &head); err != nil || head.Region == "" {
		return head, errors.New("backup: expected a file that federator backup wrote; this one does not begin like it")
	}
	if head.Format != backupFormat {
		return head, fmt.Errorf("backup: format %d, expected %d; restore it with the release that wrote it", head.Format, backupFormat)
	}
	return head, nil
}

func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > limit:
			return nil, fmt.Errorf("the first line is longer than %d bytes", limit)
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("cut short: %w", err)
		}
	}
}

func restoreState(dir dataDir, replica catalog.Replica, head backupHeader, archive io.Reader) error {
	if head.Region != replica.Region {
		return fmt.Errorf("the backup is of region %s, the replica of %s; restore it on a replica of %s", head.Region, replica.Region, head.Region)
	}
	if err := os.MkdirAll(dir.raft(), 0o700); err != nil {
		return err
	}
	_, err := state.Restore(dir.raft(), archive, state.OfflineOptions{RaftID: replica.RaftID(), Replica: &replica, Note: offlineNote("restore", replica)})
	return err
}

// restoreAnew restores onto a machine that knows nothing yet: the authority in
// the backup signs the new replica's certificate.
func (o *RestoreOptions) restoreAnew(head backupHeader, archive io.Reader) (catalog.Replica, error) {
	if o.Region != "" && o.Region != head.Region {
		return catalog.Replica{}, fmt.Errorf("the backup is of region %s, and --region says %s; leave --region out, or take the backup of %s", head.Region, o.Region, o.Region)
	}
	if len(head.Keys) == 0 {
		return catalog.Replica{}, errors.New("the backup holds no keys, because it was taken without --recipient: it can only be restored into a data directory that kept its replica.json and identity")
	}
	if o.Key == "" {
		return catalog.Replica{}, errors.New("a new machine needs the key of a recipient of the backup; give its file with --key-file")
	}
	key, err := identity.ParseSealKey(o.Key)
	if err != nil {
		return catalog.Replica{}, fmt.Errorf("the key of the backup: %w", err)
	}
	var keys backupKeys
	if err := unsealJSON(head.Keys, key, &keys); err != nil {
		return catalog.Replica{}, fmt.Errorf("the keys of the backup: %w", err)
	}
	o.Region = head.Region
	lock, err := o.claim()
	if err != nil {
		return catalog.Replica{}, err
	}
	defer lock.Close()
	dir, replica, own, err := o.prepare()
	if err != nil {
		return catalog.Replica{}, err
	}
	ca, err := identity.OpenIntermediate(keys.Intermediate.Certificate, keys.Intermediate.Root, keys.Intermediate.Key)
	if err != nil {
		return catalog.Replica{}, err
	}
	if err := own.certify(ca, replica, o.Now()); err != nil {
		return catalog.Replica{}, err
	}
	secrets, err := keys.seal(ca, replica.Recipient)
	if err != nil {
		return catalog.Replica{}, err
	}
	card := Card{Format: cardFormat, TrustDomain: head.TrustDomain, Authority: head.Authority, Replica: replica, Seeds: head.Seeds}
	return replica, dir.restoring(func() error {
		if err := restoreState(dir, replica, head, archive); err != nil {
			return err
		}
		return dir.settle(card, &founding{Restored: true, Secrets: secrets}, head.TrustList, nil)
	})
}

// seal seals a region's secrets to the replica that carries it on.
func (k backupKeys) seal(ca *identity.Intermediate, recipient string) (*state.PutSecrets, error) {
	ring, err := sealKeyring(k.Keyring, []string{recipient})
	if err != nil {
		return nil, err
	}
	secrets, err := regionSecrets(ca, recipient, ring)
	if err != nil || k.Root == nil {
		return secrets, err
	}
	holders := []string{recipient, k.Root.Recovery}
	blob, err := sealCA(*k.Root, holders)
	if err != nil {
		return nil, err
	}
	secrets.Secrets = append(secrets.Secrets, state.SecretWrite{Name: secretRoot, Blob: blob, Recipients: holders})
	return secrets, nil
}
