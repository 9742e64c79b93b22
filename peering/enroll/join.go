package enroll

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/token"
)

// Joiner is the side that has no certificate yet.
type Joiner struct {
	// Now is the clock.
	Now func() time.Time
	// Timeout bounds the attempt at one address; 0 means 20 s.
	Timeout time.Duration
	// Pause is between rounds while the region cannot decide; 0 means 1 s.
	Pause time.Duration
	// Progress, if set, is told each step in words.
	Progress func(step string)
}

// Request is what a replica joins with. Use the same keys for a retry.
type Request struct {
	// Replica describes it; PublicKey and JoinedAt are not used.
	Replica catalog.Replica
	// Key becomes its TLS key, IntermediateKey its region's CA key should it found
	// the region.
	Key, IntermediateKey crypto.Signer
	// DNSNames and IPs are asked for in the certificate besides its identity.
	DNSNames []string
	IPs      []net.IP
}

// Result is a verified admission.
type Result struct {
	TrustDomain, Region, AuthorityRegion string
	Epoch                                uint64
	// Founding: the replica is the first of its region; Chain is empty and
	// Intermediate holds the region's CA certificate, for it to sign its own.
	Founding     bool
	Intermediate []byte
	// Chain is the replica's certificate in DER, leaf first.
	Chain [][]byte
	// Roots are the roots that the trust list names, TrustList the list itself.
	Roots     [][]byte
	TrustList []byte
	// Directory has every replica that the issuer knows.
	Directory []catalog.Replica
	// SealedKeyring is the gossip keyring, sealed to the replica's recipient.
	SealedKeyring []byte
	// Protocol is the state-machine version that the region runs at.
	Protocol int
	// Skew is how far the issuer's clock is ahead of ours.
	Skew time.Duration
	// Address is where it was let in.
	Address  string
	Warnings []string
}

// MaxSkew is how far apart two clocks may be for a join.
const MaxSkew = 5 * time.Minute

// rounds is how often all addresses are tried while none can decide.
const rounds = 4

// Join redeems the token. It tries the token's addresses in turn until one
// decides. Its error says for each address what failed, and wraps the sentinels
// of this package that apply.
func (j *Joiner) Join(ctx context.Context, t token.Token, r Request) (*Result, error) {
	req, err := enrollRequest(t, r)
	if err != nil {
		return nil, err
	}
	var result *Result
	err = j.each(ctx, t.Addresses, func(ctx context.Context, address string) (err error) {
		result, err = j.joinAt(ctx, address, t, req, r)
		return err
	})
	return result, err
}

func enrollRequest(t token.Token, r Request) (*pb.EnrollRequest, error) {
	if err := validateReplica(&r.Replica); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	id := identity.ReplicaID(t.TrustDomain, r.Replica.Region, r.Replica.Name)
	csr, err := identity.NewRequest(r.Key, id, r.DNSNames, r.IPs)
	if err != nil {
		return nil, err
	}
	req := &pb.EnrollRequest{TokenId: t.ID, Secret: t.Secret[:], Csr: csr, Replica: ReplicaToWire(&r.Replica)}
	if r.IntermediateKey != nil {
		if req.IntermediateCsr, err = identity.NewRequest(r.IntermediateKey, identity.ID{}, nil, nil); err != nil {
			return nil, err
		}
	}
	return req, nil
}

// each calls try for the addresses in turn until one succeeds or decides, and
// goes round again while some address may decide later.
func (j *Joiner) each(ctx context.Context, addresses []string, try func(context.Context, string) error) error {
	for round := 1; ; round++ {
		var errs []error
		for _, a := range addresses {
			err := j.attempt(ctx, a, try)
			if err == nil {
				return nil
			}
			errs = append(errs, fmt.Errorf("%s: %w", a, err))
			if !elsewhere(err) {
				return errs[len(errs)-1]
			}
			j.say(a + " did not work")
		}
		err := summary(errs)
		if round == rounds || !later(err) {
			return err
		}
		j.say("the region cannot decide now; trying again")
		if !sleep(ctx, j.pause()) {
			return err
		}
	}
}

func (j *Joiner) attempt(ctx context.Context, address string, try func(context.Context, string) error) error {
	timeout := j.Timeout
	if timeout == 0 {
		timeout = 20 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return try(ctx, address)
}

// elsewhere reports whether another address may do better.
func elsewhere(err error) bool {
	for _, e := range []error{ErrUnreachable, ErrWrongPin, ErrNotOurs, ErrClockSkew, ErrNoCluster, ErrUnavailable, ErrTooMany} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// later reports whether the same may succeed in a while.
func later(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrTooMany)
}

func summary(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return &manyErrors{errs}
}

// manyErrors lists what failed at each address, one a line.
type manyErrors struct{ errs []error }

func (m *manyErrors) Unwrap() []error { return m.errs }

func (m *manyErrors) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "none of %d addresses worked:", len(m.errs))
	for _, err := range m.errs {
		b.WriteString("\n  " + err.Error())
	}
	return b.String()
}

func (j *Joiner) pause() time.Duration {
	if j.Pause > 0 {
		return j.Pause
	}
	return time.Second
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (j *Joiner) say(step string) {
	if j.Progress != nil {
		j.Progress(step)
	}
}
