package checker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// DNSOptions say whom to ask what. Zero numbers mean the defaults.
type DNSOptions struct {
	Targets []Target
	// Endpoints are all that the names asked for may be answered with; every name
	// among them is asked for at every target.
	Endpoints []Endpoint
	// Every is how often each name is asked for at each target; 100 ms.
	Every time.Duration
	// Timeout is when a question counts as unanswered; 2 s.
	Timeout time.Duration
	// InFlight bounds the questions waiting for an answer; 512. Further ones are
	// not asked, and counted.
	InFlight int
	// Limit bounds the answers kept; 500000. After it, nothing more is asked.
	Limit  int
	Bounds Bounds
	// Timeline is what is true.
	Timeline *Timeline
}

func (o DNSOptions) withDefaults() DNSOptions {
	if o.Every == 0 {
		o.Every = 100 * time.Millisecond
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	if o.InFlight == 0 {
		o.InFlight = 512
	}
	if o.Limit == 0 {
		o.Limit = 500_000
	}
	if o.Timeline == nil {
		o.Timeline = &Timeline{}
	}
	return o
}

// DNSProber asks every replica for every name at a steady rate, whether answers
// come or not, and keeps all answers. They are judged in the end, by the
// timeline of what was true.
type DNSProber struct {
	opt     DNSOptions
	names   []string
	slots   chan struct{} // taken by questions in flight
	skipped atomic.Int64

	mu      sync.Mutex
	answers []Answer
}

// NewDNSProber returns the checker.
func NewDNSProber(o DNSOptions) *DNSProber {
	p := &DNSProber{opt: o.withDefaults()}
	p.slots = make(chan struct{}, p.opt.InFlight)
	for _, e := range p.opt.Endpoints {
		if !slices.Contains(p.names, e.Name) {
			p.names = append(p.names, e.Name)
		}
	}
	return p
}

// Run implements [Checker].
func (p *DNSProber) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	questions := len(p.opt.Targets) * len(p.names)
	if questions == 0 {
		return
	}
	tick := time.NewTicker(p.opt.Every / time.Duration(questions))
	defer tick.Stop()
	for n := 0; p.room(); n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case p.slots <- struct{}{}:
		default:
			p.skipped.Add(1)
			continue
		}
		wg.Go(func() {
			defer func() { <-p.slots }()
			p.keep(p.ask(p.opt.Targets[n%len(p.opt.Targets)], p.names[n/len(p.opt.Targets)%len(p.names)]))
		})
	}
}

func (p *DNSProber) room() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.answers) < p.opt.Limit
}

func (p *DNSProber) keep(a Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = append(p.answers, a)
}

// Answers returns those so far, in the order of their questions.
func (p *DNSProber) Answers() []Answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.Clone(p.answers)
	slices.SortFunc(all, func(a, b Answer) int { return a.Asked.Compare(b.Asked) })
	return all
}

// ask asks one question. It does not end with the run: a question that was asked
// has its time to be answered.
func (p *DNSProber) ask(t Target, name string) Answer {
	ctx, cancel := context.WithTimeout(context.Background(), p.opt.Timeout)
	defer cancel()
	a := Answer{Asked: time.Now(), Replica: t.String(), Region: t.Region, Name: name}
	reply, err := exchange(ctx, t, name, p.opt.Timeout)
	a.Took = time.Since(a.Asked)
	if err != nil {
		a.Trouble = trouble(err)
		return a
	}
	if reply.Rcode != dns.RcodeSuccess {
		a.Trouble = dns.RcodeToString[reply.Rcode]
	}
	for _, record := range reply.Answer {
		if r, ok := record.(*dns.A); ok {
			a.Addresses = append(a.Addresses, r.A.String())
		}
	}
	a.Stale = saysStale(reply)
	return a
}

func exchange(ctx context.Context, t Target, name string, within time.Duration) (*dns.Msg, error) {
	raw, err := t.dial(ctx, "udp", t.DNS)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	question := new(dns.Msg).SetQuestion(name, dns.TypeA)
	question.SetEdns0(1232, false)
	client := dns.Client{Net: "udp", Timeout: within}
	reply, _, err := client.ExchangeWithConnContext(ctx, question, &dns.Conn{Conn: raw})
	return reply, err
}

func trouble(err error) string {
	var late net.Error
	if errors.As(err, &late) && late.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	return err.Error()
}

// saysStale looks for the extended errors "stale answer" and "stale NXDOMAIN".
func saysStale(m *dns.Msg) bool {
	opt := m.IsEdns0()
	return opt != nil && slices.ContainsFunc(opt.Option, func(o dns.EDNS0) bool {
		e, ok := o.(*dns.EDNS0_EDE)
		return ok && (e.InfoCode == dns.ExtendedErrorCodeStaleAnswer || e.InfoCode == dns.ExtendedErrorCodeStaleNXDOMAINAnswer)
	})
}

// Tally judges the answers so far.
func (p *DNSProber) Tally() Tally {
	return Count(p.Answers(), p.opt.Timeline.Facts(), p.opt.Endpoints, p.opt.Bounds)
}

// NamingAfter returns the answers to questions asked after a moment that name an
// endpoint in scope.
func (p *DNSProber) NamingAfter(scope func(Endpoint) bool, after time.Time) []Answer {
	return NamingAfter(p.Answers(), p.opt.Endpoints, scope, after)
}

// Report implements [Checker]. Questions that could not be asked are violations,
// too: the prober did not see what it should have.
func (p *DNSProber) Report() Report {
	t := p.Tally()
	var l ledger
	l.add(t.Violations...)
	if n := p.skipped.Load(); n > 0 {
		l.add(Violation{At: time.Now(), Where: "the prober", Expected: fmt.Sprintf("at most %d questions in flight", p.opt.InFlight), Found: fmt.Sprintf("%d that had to be left out", n)})
	}
	return l.into(Report{
		Checker: "DNS", Checked: count("answers", t.Asked), Worst: seconds("named after its death at most", t.Latest),
		More: []Figure{
			count("unanswered", t.NoAnswer), count("wrong", t.Wrong), count("marked stale", t.Stale), count("excused", t.Excused),
			seconds("median", t.Median), seconds("slowest", t.Slowest),
		},
	})
}
