package checker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/port"
)

// MTLSOptions say whom to connect to, and how often. Zero numbers mean the
// defaults.
type MTLSOptions struct {
	Targets []Target
	// Every is how often each ordered pair is tried; 2 s.
	Every time.Duration
	// Timeout bounds a handshake and a call; 5 s.
	Timeout time.Duration
	// Timeline says which replicas are down and which regions are cut off: between
	// those nothing is expected, and not within Grace after (5 s).
	Timeline *Timeline
	Grace    time.Duration
}

func (o MTLSOptions) withDefaults() MTLSOptions {
	for n, d := range map[*time.Duration]time.Duration{&o.Every: 2 * time.Second, &o.Timeout: 5 * time.Second, &o.Grace: 5 * time.Second} {
		if *n == 0 {
			*n = d
		}
	}
	if o.Timeline == nil {
		o.Timeline = &Timeline{}
	}
	return o
}

// MTLSProber checks that from where each replica stands every other one can be
// connected to by mTLS, over and over, and proves to be who it is; and that one
// long connection per pair stays open whatever certificates are renewed
// meanwhile. It acts as an operator whose certificate the region of the caller
// has signed, so both ends are verified across regions.
type MTLSProber struct {
	opt MTLSOptions
	ledger
	identities map[string]identity.TLS // by region
	handshakes atomic.Int64
	excused    atomic.Int64
	calls      atomic.Int64
	slowest    atomic.Int64
	renewed    atomic.Int64 // certificates seen that were newer than the ones before
}

// knownWithin bounds how long a role may take to be known everywhere.
const knownWithin = 20 * time.Second

// NewMTLSProber has every region certify an operator, by a role that stays after
// the run, and returns the checker when every replica knows of it.
func NewMTLSProber(ctx context.Context, o MTLSOptions) (*MTLSProber, error) {
	p := &MTLSProber{opt: o.withDefaults(), identities: map[string]identity.TLS{}}
	for _, t := range o.Targets {
		if _, ok := p.identities[t.Region]; ok {
			continue
		}
		id, err := certify(ctx, of(o.Targets, t.Region))
		if err != nil {
			return nil, fmt.Errorf("an operator of region %s: %w", t.Region, err)
		}
		p.identities[t.Region] = id
	}
	return p, p.known(ctx)
}

// known waits until every replica knows the roles that every region gave: until
// then it would refuse the others' calls, as it should.
func (p *MTLSProber) known(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, knownWithin)
	defer cancel()
	all, err := newLines(p.opt.Targets)
	if err != nil {
		return err
	}
	defer all.close()
	for {
		err := errors.Join(all.each(func(_ int, l *line) error { return l.call(ctx, p.opt.Timeout, p.lacking) })...)
		if err == nil || !sleep(ctx, 50*time.Millisecond) {
			return err
		}
	}
}

// lacking says which role an agent does not know.
func (p *MTLSProber) lacking(ctx context.Context, agent pb.OperatorClient) error {
	list, err := agent.ListOperators(ctx, &pb.ListOperatorsRequest{})
	if err != nil {
		return err
	}
	for region := range p.identities {
		if !slices.ContainsFunc(list.GetOperators(), func(o *pb.OperatorInfo) bool { return o.GetName() == operatorOf(region) }) {
			return fmt.Errorf("expected operator %s to be known, found %v", operatorOf(region), list.GetOperators())
		}
	}
	return nil
}

// operatorOf names the operator whom a region certifies.
func operatorOf(region string) string { return "lab-" + region }

// certify asks the replicas of a region in turn: only voters sign.
func certify(ctx context.Context, targets []Target) (identity.TLS, error) {
	var errs []error
	for _, t := range targets {
		l, err := newLine(t)
		if err != nil {
			return identity.TLS{}, err
		}
		id, err := enrol(ctx, l, operatorOf(t.Region))
		l.close()
		if err == nil {
			return id, nil
		}
		errs = append(errs, err)
	}
	return identity.TLS{}, errors.Join(errs...)
}

// enrol makes a key in memory and has it certified as an operator's.
func enrol(ctx context.Context, l *line, name string) (identity.TLS, error) {
	source, err := identity.NewSource()
	if err != nil {
		return identity.TLS{}, err
	}
	var made *pb.CreateOperatorResponse
	err = l.call(ctx, 10*time.Second, func(ctx context.Context, agent pb.OperatorClient) error {
		s, err := agent.Status(ctx, &pb.StatusRequest{})
		if err != nil {
			return err
		}
		csr, err := source.Request(identity.OperatorID(s.GetTrustDomain(), name), nil, nil)
		if err != nil {
			return err
		}
		made, err = agent.CreateOperator(ctx, &pb.CreateOperatorRequest{Name: name, Role: "viewer", Csr: csr, Ttl: durationpb.New(7 * 24 * time.Hour)})
		return err
	})
	if err != nil {
		return identity.TLS{}, err
	}
	return operatorTLS(source, made)
}

// operatorTLS verifies others by the roots and the trust list that came with the
// certificate.
func operatorTLS(source *identity.Source, made *pb.CreateOperatorResponse) (identity.TLS, error) {
	var roots []*x509.Certificate
	for _, der := range made.GetRoots() {
		root, err := identity.ParseCertificate(der)
		if err != nil {
			return identity.TLS{}, err
		}
		roots = append(roots, root)
	}
	chain := made.GetChain()
	if len(chain) == 2 && len(roots) > 0 {
		intermediate, err := identity.ParseCertificate(chain[1])
		if err != nil {
			return identity.TLS{}, err
		}
		if i := slices.IndexFunc(roots, func(r *x509.Certificate) bool { return intermediate.CheckSignatureFrom(r) == nil }); i >= 0 {
			chain = append(slices.Clone(chain), roots[i].Raw)
		}
	}
	if err := source.Replace(chain); err != nil {
		return identity.TLS{}, err
	}
	id, err := source.ID()
	if err != nil {
		return identity.TLS{}, err
	}
	verifier := identity.NewVerifier(id.TrustDomain, roots...)
	if _, err := verifier.Update(made.GetTrustList()); err != nil {
		return identity.TLS{}, err
	}
	return identity.TLS{Source: source, Verifier: verifier, Now: time.Now}, nil
}

// Run implements [Checker].
func (p *MTLSProber) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	pairs := p.pairs()
	for i, pair := range pairs {
		// Spread, so that the pairs do not all shake hands at once.
		first := p.opt.Every * time.Duration(i) / time.Duration(len(pairs))
		wg.Go(func() { p.watch(ctx, pair, first) })
		wg.Go(func() { p.hold(ctx, pair, first) })
	}
}

// pair is who connects to whom.
type pair struct{ from, to Target }

func (p pair) String() string { return p.from.String() + " to " + p.to.String() }

func (p *MTLSProber) pairs() []pair {
	var out []pair
	for _, from := range p.opt.Targets {
		for _, to := range p.opt.Targets {
			if from.String() != to.String() {
				out = append(out, pair{from, to})
			}
		}
	}
	return out
}

// watch shakes hands over and over.
func (p *MTLSProber) watch(ctx context.Context, pair pair, first time.Duration) {
	var newest time.Time
	for wait := first; sleep(ctx, wait); wait = p.opt.Every {
		began := time.Now()
		leaf, err := p.handshake(ctx, pair)
		took := time.Since(began)
		if ctx.Err() != nil {
			return
		}
		p.handshakes.Add(1)
		if err != nil {
			p.blame(pair, began, "a handshake", err)
			continue
		}
		raise(&p.slowest, int64(took))
		if !newest.IsZero() && leaf.NotAfter.After(newest) {
			p.renewed.Add(1)
		}
		newest = leaf.NotAfter
	}
}

func raise(n *atomic.Int64, to int64) {
	for at := n.Load(); to > at && !n.CompareAndSwap(at, to); at = n.Load() {
	}
}

// blame notes a failure, unless something was down or cut off around then.
func (p *MTLSProber) blame(pair pair, began time.Time, expected string, err error) {
	if excused(pair, p.opt.Timeline.Facts(), began.Add(-p.opt.Grace), time.Now()) {
		p.excused.Add(1)
		return
	}
	p.add(Violation{At: began, Where: pair.String(), Expected: expected, Found: err.Error()})
}

// excused reports whether a pair could not be expected to connect at some moment
// between two.
func excused(p pair, facts Facts, from, to time.Time) bool {
	for _, s := range []subject{
		{Down, "", p.from.String()}, {Down, "", p.to.String()},
		{Cut, p.from.Region, p.to.Region}, {Cut, p.to.Region, p.from.Region},
	} {
		if facts.touched(s, from, to) {
			return true
		}
	}
	return false
}

// handshake connects once and waits for the first bytes of the server: only then
// has it accepted the certificate of this side (TLS 1.3).
func (p *MTLSProber) handshake(ctx context.Context, pair pair) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, p.opt.Timeout)
	defer cancel()
	c, err := p.connect(ctx, pair)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	var first [1]byte
	if _, err := c.Read(first[:]); err != nil {
		return nil, fmt.Errorf("the other end refuses: %w", err)
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

// connect opens a connection on which the other end has proven to be the replica
// that is meant.
func (p *MTLSProber) connect(ctx context.Context, pair pair) (*tls.Conn, error) {
	raw, err := pair.from.dial(ctx, "tcp", pair.to.Peer)
	if err != nil {
		return nil, err
	}
	c, err := p.prove(ctx, pair, raw)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, nil
}

func (p *MTLSProber) prove(ctx context.Context, pair pair, raw net.Conn) (*tls.Conn, error) {
	own := p.identities[pair.from.Region]
	want := identity.ReplicaID(own.Verifier.TrustDomain(), pair.to.Region, pair.to.Name)
	c := tls.Client(raw, own.Client(port.GRPC, identity.AllowID(want)))
	return c, c.HandshakeContext(ctx)
}

// Report implements [Checker].
func (p *MTLSProber) Report() Report {
	p.mu.Lock()
	failed := p.total
	p.mu.Unlock()
	return p.into(Report{
		Checker: "mTLS", Checked: count("handshakes", int(p.handshakes.Load())), Worst: count("failed", failed),
		More: []Figure{
			count("calls on long connections", int(p.calls.Load())), count("renewals seen", int(p.renewed.Load())),
			count("excused", int(p.excused.Load())), seconds("slowest handshake", time.Duration(p.slowest.Load())),
		},
	})
}
