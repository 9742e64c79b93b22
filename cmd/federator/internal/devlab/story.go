package devlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// The bounds that the story holds the federation to.
const (
	flipWithin     = 2 * time.Second
	regionOut      = 5 * time.Second
	regionBack     = 10 * time.Second
	staleWithin    = 10 * time.Second
	evacuateWithin = 2 * time.Second
	policyWithin   = 5 * time.Second
	// quiet is for how long no answer may show what is gone: longer than any
	// answer could still be on its way.
	quiet = 1500 * time.Millisecond
)

// figure is one measured fact of the story.
type figure struct {
	what  string
	took  time.Duration
	bound time.Duration // 0 means that only err counts
	note  string
	err   error
}

func (f *figure) ok() bool { return f.err == nil && (f.bound == 0 || f.took < f.bound) }

// Story tells the whole tale on a started Lab: it looks up, breaks and mends, and
// measures what the answers show. Every replica is asked for every name
// throughout.
type Story struct {
	*Lab
	watch   *Watch
	figures []figure
	retold  []string // which chapters were told again, and why
	drills  int      // so many were begun
}

// ErrStory means that something did not happen as it must.
var ErrStory = errors.New("the story did not go as it must")

// Tell tells the story and prints its figures. It returns [ErrStory], wrapped
// with what was expected and found, if any of it did not happen in time.
func Tell(ctx context.Context, l *Lab) error {
	s := &Story{Lab: l, watch: newWatch(l, 50*time.Millisecond, name("checkout", l), name("catalog", l))}
	ctx, cancel := context.WithCancel(ctx)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		s.watch.run(ctx)
	}()
	err := s.chapters(ctx)
	cancel()
	<-watching
	s.print()
	return err
}

func name(service string, l *Lab) string { return service + ".shop.svc." + l.Zone + "." }

// chapters runs every chapter until one cannot be told.
func (s *Story) chapters(ctx context.Context) error {
	for _, c := range []chapter{
		{title: "look up from every region", tell: s.lookUp},
		{title: "share shop/catalog between us-west and eu-central", tell: s.share, undo: s.unshare},
		{title: "an endpoint of shop/checkout in us-west fails, and recovers", tell: s.failEndpoint},
		{title: "us-west dies: its replicas and its endpoints", tell: s.killRegion},
		{title: "us-west loses its replicas only", tell: s.killControlPlane},
		{title: "eu-central loses its leader, then a follower", tell: s.killReplicas},
		{title: "us-west is evacuated", tell: s.evacuate},
		{title: "the loss of us-west is practised", tell: s.practise},
	} {
		s.progress("== %s", c.title)
		if err := s.told(ctx, c, s.healed); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrStory, c.title, err)
		}
	}
	return ctx.Err()
}

func (s *Story) record(f figure) {
	s.figures = append(s.figures, f)
	s.progress("   %s: %s", f.what, f.found())
}

func (f *figure) found() string {
	switch {
	case f.err != nil:
		return f.err.Error()
	case f.bound == 0:
		return f.note
	case f.note == "":
		return f.took.Round(time.Millisecond).String()
	}
	return fmt.Sprintf("%v, %s", f.took.Round(time.Millisecond), f.note)
}

func (f *figure) expected() string {
	if f.bound == 0 {
		return "without exception"
	}
	return "< " + f.bound.String()
}

// verdict returns an error for every figure that is not as it must be.
func verdict(figures []figure) error {
	var errs []error
	for i := range figures {
		if f := &figures[i]; !f.ok() {
			errs = append(errs, fmt.Errorf("%s: expected %s, found %s", f.what, f.expected(), f.found()))
		}
	}
	return errors.Join(errs...)
}

func (s *Story) print() {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nWHAT\tFOUND\tEXPECTED\tOK")
	for _, f := range s.figures {
		verdict := "yes"
		if !f.ok() {
			verdict = "NO"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.what, f.found(), f.expected(), verdict)
	}
	_ = w.Flush()
	for _, what := range s.retold {
		fmt.Fprintf(s.out, "told again: %s\n", what)
	}
	fmt.Fprintf(s.out, "%d lookups were made in %v\n", len(s.watch.lookups), time.Since(s.began).Round(time.Second))
}

// catalogPolicy lets two regions share shop/catalog, so that its answers in other
// regions show whether us-west serves.
const catalogPolicy = `kind: Policy
name: shop/catalog
spec:
  weights: {us-west: 1, eu-central: 1}
`

func (s *Story) share(ctx context.Context) error {
	path := filepath.Join(s.dir, "catalog-policy.yaml")
	if err := os.WriteFile(path, []byte(catalogPolicy), 0o600); err != nil {
		return err
	}
	start := time.Now()
	if _, err := s.Federator(ctx, "policy", "apply", "-f", path, "--socket", s.in("asia-east")[1].Socket); err != nil {
		return err
	}
	// Every replica of the other regions now shows us-west among its answers.
	return s.seen(ctx, "a policy applied in asia-east is in force everywhere", start, policyWithin, "catalog", s.outside("us-west"))
}

// unshare takes the policy back, and waits until only those answer with us-west that
// did before.
func (s *Story) unshare(ctx context.Context) error {
	if _, err := s.Federator(ctx, "policy", "delete", "shop/catalog", "--socket", s.in("asia-east")[1].Socket); err != nil {
		return err
	}
	network := networkOf(victimK)
	_, err := s.everywhere(ctx, time.Now(), name("catalog", s.Lab), func(r *Replica, addresses []string) bool {
		return r.Region != "eu-central" || !(&lookup{addresses: addresses}).has(network)
	})
	return err
}
