package checker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/peering/pb"
)

// LinearizabilityOptions say what to write and read, and how fast. Zero numbers
// mean the defaults.
type LinearizabilityOptions struct {
	Region string
	// Targets are the region's replicas; those of other regions are left out.
	Targets []Target
	// Name tells the keys of several checkers of one federation apart: each needs
	// keys that nobody has written yet. May be empty.
	Name string
	// Clients work at a time, each on a random replica; 6.
	Clients int
	// Pace is a client's mean pause between operations; 20 ms.
	Pace time.Duration
	// PerKey operations are about one key, then the clients go on to the next, so
	// that checking stays quick; 60.
	PerKey int
	// Limit bounds the operations recorded; after it the clients stop. 20000.
	Limit int
	// Timeout bounds an operation, 3 s, and CheckWithin the check, 60 s.
	Timeout, CheckWithin time.Duration
	// Plain reads ask for whatever the replica knows. They are not promised to be
	// consistent: the setting is there to see that the checker can fail.
	Plain bool
	// Seed repeats the choices of the clients.
	Seed uint64
	// Artefacts is a directory for the picture of a violation; "" for none.
	Artefacts string
}

func (o LinearizabilityOptions) withDefaults() LinearizabilityOptions {
	def := func(n *int, d int) {
		if *n == 0 {
			*n = d
		}
	}
	wait := func(n *time.Duration, d time.Duration) {
		if *n == 0 {
			*n = d
		}
	}
	def(&o.Clients, 6)
	def(&o.PerKey, 60)
	def(&o.Limit, 20000)
	wait(&o.Pace, 20*time.Millisecond)
	wait(&o.Timeout, 3*time.Second)
	wait(&o.CheckWithin, time.Minute)
	o.Targets = of(o.Targets, o.Region)
	return o
}

// Linearizability checks that the policies of one region behave as if there were
// a single copy of them, whichever of its replicas is asked: concurrent clients
// write and read, and the history of all of them has to be that of one register
// per key. Nobody else may write policies named lab/register-….
type Linearizability struct {
	opt     LinearizabilityOptions
	history history
	values  atomic.Uint64 // the last one written
	turns   atomic.Uint64 // operations begun
	refused ledger
}

// NewLinearizability returns the checker.
func NewLinearizability(o LinearizabilityOptions) *Linearizability {
	c := &Linearizability{opt: o.withDefaults()}
	c.history.began, c.history.limit = time.Now(), c.opt.Limit
	return c
}

// Run implements [Checker].
func (c *Linearizability) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for id := range c.opt.Clients {
		wg.Go(func() { c.client(ctx, id) })
	}
}

func (c *Linearizability) client(ctx context.Context, id int) {
	all, err := newLines(c.opt.Targets)
	if err != nil || len(all) == 0 {
		c.refused.add(Violation{At: time.Now(), Where: "region " + c.opt.Region, Expected: "replicas to ask", Found: fmt.Sprintf("%d, %v", len(all), err)})
		return
	}
	defer all.close()
	rng := rand.New(rand.NewPCG(c.opt.Seed, uint64(id)))
	for sleep(ctx, time.Duration(rng.ExpFloat64()*float64(c.opt.Pace))) {
		l := all[rng.IntN(len(all))]
		o := operation{client: id, write: rng.IntN(2) == 0}
		o.key = fmt.Sprintf("lab/register-%s%s-%d", c.opt.Name, c.opt.Region, c.turns.Add(1)/uint64(c.opt.PerKey))
		if !c.do(ctx, l, &o) {
			return
		}
	}
}

// do has one operation done and recorded, and reports whether to go on.
func (c *Linearizability) do(ctx context.Context, l *line, o *operation) bool {
	if o.write {
		o.value = c.values.Add(1)
	}
	o.call = time.Since(c.history.began)
	err := l.call(ctx, c.opt.Timeout, func(ctx context.Context, agent pb.OperatorClient) (err error) {
		if o.write {
			return writeRegister(ctx, agent, o.key, o.value)
		}
		o.value, err = readRegister(ctx, agent, o.key, !c.opt.Plain)
		return err
	})
	o.end = time.Since(c.history.began)
	if errors.Is(err, errNoAgent) {
		return true // nothing happened
	}
	o.unknown = err != nil
	return c.history.add(*o)
}

// writeRegister writes a value as the ramp of a policy, in microseconds.
func writeRegister(ctx context.Context, agent pb.OperatorClient, key string, value uint64) error {
	ramp := catalog.Duration(time.Duration(value) * time.Microsecond)
	spec, err := json.Marshal(catalog.Policy{Ramp: &ramp})
	if err != nil {
		return err
	}
	_, err = agent.ApplyPolicy(ctx, &pb.ApplyPolicyRequest{Name: key, Spec: spec})
	return err
}

// readRegister reads the value of a policy; 0 if there is none.
func readRegister(ctx context.Context, agent pb.OperatorClient, key string, consistent bool) (uint64, error) {
	found, err := agent.GetPolicy(ctx, readRequest(key, consistent))
	if status.Code(err) == codes.NotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return registerValue(found.GetSpec())
}

func registerValue(spec []byte) (uint64, error) {
	var p catalog.Policy
	if err := json.Unmarshal(spec, &p); err != nil || p.Ramp == nil {
		return 0, fmt.Errorf("expected a policy with a ramp, found %.200s, %v", spec, err)
	}
	return uint64(time.Duration(*p.Ramp) / time.Microsecond), nil
}

// readRequest is the one place where reads are made.
func readRequest(key string, consistent bool) *pb.GetPolicyRequest {
	return &pb.GetPolicyRequest{Name: key, Consistent: consistent}
}

// Report implements [Checker]; it checks the history.
func (c *Linearizability) Report() Report {
	all := c.history.operations()
	began := time.Now()
	result, info := linearizable(all, c.opt.CheckWithin)
	r := Report{Checker: linearizability + " of " + c.opt.Region, Checked: count("operations", len(all)), Worst: longest(all)}
	r.More = []Figure{count("of unknown outcome", unknown(all)), seconds("checked in", time.Since(began))}
	if result == porcupine.Ok {
		return c.refused.into(r)
	}
	found := "none exists"
	if result == porcupine.Unknown {
		found = fmt.Sprintf("no decision within %v; take fewer operations per key", c.opt.CheckWithin)
	}
	if path := filepath.Join(c.opt.Artefacts, "linearizability-"+c.opt.Name+c.opt.Region+".html"); c.opt.Artefacts != "" {
		if err := errors.Join(os.MkdirAll(c.opt.Artefacts, 0o700), porcupine.VisualizePath(registers(), info, path)); err != nil {
			found += fmt.Sprintf("; its picture could not be written: %v", err)
		} else {
			r.Artefacts = append(r.Artefacts, path)
		}
	}
	c.refused.add(Violation{At: time.Now(), Where: "region " + c.opt.Region, Expected: "an order of its reads and writes as of a single copy", Found: found, Open: result == porcupine.Unknown})
	return c.refused.into(r)
}

// longest is the longest that an operation with an answer took.
func longest(all []operation) Figure {
	var worst time.Duration
	for _, o := range all {
		if !o.unknown {
			worst = max(worst, o.end-o.call)
		}
	}
	return seconds("slowest operation", worst)
}

func unknown(all []operation) int {
	n := 0
	for _, o := range all {
		if o.unknown {
			n++
		}
	}
	return n
}
