package checker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// AcknowledgedOptions say what to write, and how fast. Zero numbers mean the
// defaults.
type AcknowledgedOptions struct {
	Targets []Target
	// Keys is how many policies, and how many services, each region has to write in
	// turn: a lost write shows as long as no later one is over it. 8.
	Keys int
	// Pace is the pause between a region's writes; 50 ms. Timeout bounds a write; 5 s.
	Pace, Timeout time.Duration
	// Tokens is how many join tokens each region makes at most; 20.
	Tokens int
	// Again is how long after the bound of an audit what is missing is looked at once
	// more, since a busy machine may have left time for one look only; 5 s.
	Again time.Duration
}

func (o AcknowledgedOptions) withDefaults() AcknowledgedOptions {
	for n, d := range map[*int]int{&o.Keys: 8, &o.Tokens: 20} {
		if *n == 0 {
			*n = d
		}
	}
	for n, d := range map[*time.Duration]time.Duration{&o.Pace: 50 * time.Millisecond, &o.Timeout: 5 * time.Second, &o.Again: 5 * time.Second} {
		if *n == 0 {
			*n = d
		}
	}
	return o
}

// Acknowledged checks that no acknowledged write is lost: in every region one
// writer writes policies, services and tokens over all replicas in turn, and
// [Acknowledged.Audit] reads them back from every replica of every region.
// Nobody else may write what is named lab/kept-….
type Acknowledged struct {
	opt AcknowledgedOptions
	ledger
	book    book
	audited time.Duration
}

// NewAcknowledged returns the checker.
func NewAcknowledged(o AcknowledgedOptions) *Acknowledged {
	return &Acknowledged{opt: o.withDefaults(), book: book{entries: map[string]*entry{}}}
}

// Run implements [Checker]: it writes.
func (c *Acknowledged) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	seen := map[string]bool{}
	for _, t := range c.opt.Targets {
		if !seen[t.Region] {
			seen[t.Region] = true
			wg.Go(func() { c.writer(ctx, t.Region) })
		}
	}
}

func (c *Acknowledged) writer(ctx context.Context, region string) {
	all, err := newLines(of(c.opt.Targets, region))
	if err != nil {
		c.add(Violation{At: time.Now(), Where: "region " + region, Expected: "replicas to write to", Found: err.Error()})
		return
	}
	defer all.close()
	tokens := 0
	for n := 0; sleep(ctx, c.opt.Pace); n++ {
		l, kind := all[n%len(all)], kindPolicy
		switch {
		case n%16 == 15 && tokens < c.opt.Tokens:
			tokens++
			c.token(ctx, l)
			continue
		case n%2 == 1:
			kind = kindService
		}
		c.write(ctx, l, kind, fmt.Sprintf("lab/kept-%s-%d", region, n/2%c.opt.Keys))
	}
}

// The kinds of what is written.
const (
	kindPolicy  = "policy"
	kindService = "service"
	kindToken   = "token"
)

// write writes the next value of a key.
func (c *Acknowledged) write(ctx context.Context, l *line, kind, key string) {
	id := kind + " " + key
	n := c.book.attempt(id, l.target.Region)
	err := l.call(ctx, c.opt.Timeout, func(ctx context.Context, agent pb.OperatorClient) error {
		if kind == kindPolicy {
			return writeRegister(ctx, agent, key, n)
		}
		_, err := agent.ApplyServices(ctx, &pb.ApplyServicesRequest{Document: []byte(keptService(key, n))})
		return err
	})
	if err == nil {
		c.book.acknowledge(id, n)
	}
}

// keptService is the document of a service whose only endpoint is the number n.
func keptService(key string, n uint64) string {
	return fmt.Sprintf("services:\n  - name: %s\n    ports: [{name: lab, port: 9}]\n    endpoints: [{address: %s}]\n", key, numbered(n))
}

// numbered is an address that stands for a number below 2^24.
func numbered(n uint64) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

// number is the inverse of numbered.
func number(address string) (uint64, error) {
	a, err := netip.ParseAddr(address)
	if err != nil || !a.Is4() || a.As4()[0] != 10 {
		return 0, fmt.Errorf("expected an address 10.x.y.z, found %q", address)
	}
	b := a.As4()
	return uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3]), nil
}

func (c *Acknowledged) token(ctx context.Context, l *line) {
	var made *pb.CreateTokenResponse
	err := l.call(ctx, c.opt.Timeout, func(ctx context.Context, agent pb.OperatorClient) (err error) {
		made, err = agent.CreateToken(ctx, &pb.CreateTokenRequest{Ttl: durationpb.New(24 * time.Hour), Description: "lab"})
		return err
	})
	if err == nil {
		c.book.keep(kindToken+" "+made.GetInfo().GetId(), l.target.Region, "unused")
	}
}

// Redeemed tells that a token of a region was acknowledged as used by
// "region/name". Call it when a join has succeeded.
func (c *Acknowledged) Redeemed(region, id, by string) {
	c.book.keep(kindToken+" "+id, region, "used by "+by)
}

// Forgive lets what a region acknowledged until now be lost, as after a restore
// from a backup or a recovery from one replica.
func (c *Acknowledged) Forgive(region string) { c.book.forgive(region) }

// Audit reads back all that was acknowledged from every replica, and repeats it
// until nothing is missing or the bound is over. What is missing then, and still is
// when it is looked at once more, is lost; what is not is late.
// Call it when the writer has ended and the federation is whole again.
func (c *Acknowledged) Audit(ctx context.Context, bound time.Duration) {
	began := time.Now()
	all, err := newLines(c.opt.Targets)
	if err != nil {
		c.add(Violation{At: time.Now(), Where: "audit", Expected: "replicas to read from", Found: err.Error()})
		return
	}
	defer all.close()
	for {
		missing := c.auditAll(ctx, all)
		c.audited = time.Since(began)
		if len(missing) == 0 {
			return
		}
		if c.audited > bound {
			sleep(ctx, c.opt.Again)
			c.add(confirmed(missing, c.auditAll(ctx, all), bound)...)
			return
		}
		if !sleep(ctx, 100*time.Millisecond) {
			c.add(missing...)
			return
		}
	}
}

// confirmed are the violations of a last look, and those of the one before that are
// gone. Those were late, but for a number that nobody wrote: no look may find it.
func confirmed(before, last []Violation, bound time.Duration) []Violation {
	out := slices.Clone(last)
	for _, v := range before {
		if slices.ContainsFunc(last, func(l Violation) bool { return l.Where == v.Where }) {
			continue
		}
		if v.Expected != neverWritten {
			v.Expected, v.Open = fmt.Sprintf("%s, within %v", v.Expected, bound), true
		}
		out = append(out, v)
	}
	return out
}

func (c *Acknowledged) auditAll(ctx context.Context, all lines) []Violation {
	found := make([][]Violation, len(all))
	all.each(func(i int, l *line) error {
		found[i] = c.audit(ctx, l)
		return nil
	})
	return flat(found)
}

func flat(all [][]Violation) []Violation {
	var out []Violation
	for _, some := range all {
		out = append(out, some...)
	}
	return out
}

// audit compares one replica with the book.
func (c *Acknowledged) audit(ctx context.Context, l *line) []Violation {
	kept := c.book.copy()
	var have map[string]string
	err := l.call(ctx, 20*time.Second, func(ctx context.Context, agent pb.OperatorClient) (err error) {
		have, err = c.held(ctx, agent, kept)
		return err
	})
	if err != nil {
		return []Violation{{At: time.Now(), Where: l.target.String(), Expected: "answers to the audit", Found: err.Error(), Open: true}}
	}
	return missing(l.target, kept, have, time.Now())
}

// held reads what a replica holds of what the book lists, by the book's ids:
// numbers of policies and services, states of tokens.
func (c *Acknowledged) held(ctx context.Context, agent pb.OperatorClient, kept map[string]entry) (map[string]string, error) {
	have := map[string]string{}
	policies, err := agent.ListPolicies(ctx, &pb.ListPoliciesRequest{})
	if err != nil {
		return nil, err
	}
	for _, p := range policies.GetPolicies() {
		var spec catalog.Policy
		if id := kindPolicy + " " + p.GetName(); json.Unmarshal(p.GetSpec(), &spec) == nil && spec.Ramp != nil {
			have[id] = fmt.Sprint(uint64(time.Duration(*spec.Ramp) / time.Microsecond))
		}
	}
	services, err := agent.Services(ctx, &pb.ServicesRequest{Namespace: "lab"})
	if err != nil {
		return nil, err
	}
	for _, s := range services.GetServices() {
		if _, ok := kept[kindService+" "+s.GetName()]; !ok {
			continue
		}
		list, err := agent.Endpoints(ctx, &pb.EndpointsRequest{Service: s.GetName()})
		if err != nil {
			return nil, err
		}
		for _, e := range list.GetEndpoints() {
			n, err := number(e.GetAddress())
			if err != nil {
				return nil, err
			}
			have[kindService+" "+s.GetName()] = fmt.Sprint(n)
		}
	}
	tokens, err := agent.ListTokens(ctx, &pb.ListTokensRequest{})
	if err != nil {
		return nil, err
	}
	for _, t := range tokens.GetTokens() {
		have[kindToken+" "+t.GetId()] = tokenState(t)
	}
	return have, nil
}

func tokenState(t *pb.TokenInfo) string {
	if t.GetState() == "used" {
		return "used by " + t.GetUsedBy()
	}
	return t.GetState()
}

// Report implements [Checker].
func (c *Acknowledged) Report() Report {
	c.mu.Lock()
	lost := c.total
	c.mu.Unlock()
	return c.into(Report{
		Checker: acknowledgedWrites, Checked: count("acknowledged", c.book.acknowledged()), Worst: count("lost", lost),
		More: []Figure{seconds("all there in", c.audited)},
	})
}
