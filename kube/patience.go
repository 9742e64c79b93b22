package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/federator/federator/kube/api/v1alpha1"
)

// ErrNotInstalled is why a kind of object cannot be read that the API server does not
// know.
var ErrNotInstalled = errors.New("the API server knows no")

// askAgain is the pause before a request of an informer that found nobody is made
// again. An informer's own pauses grow to a minute, for which a server that came
// back, or a kind of object that was installed, would go unseen: they begin at a
// second, double with every answer that sends an informer back to its list, those
// that have it read anew among them, and are forgotten after two minutes without one.
const askAgain = time.Second

// askEagerly is for how long a kind that a cluster may lack is asked for that often
// too: it is being installed, or an API server that starts does not know it yet. After
// that the cluster does without, and it is asked for every askSeldom.
const (
	askEagerly = 2 * time.Minute
	askSeldom  = time.Minute
)

// patience is what all requests of the informers go through. It makes those again
// that cannot be answered now, knows for each kind of object why not, and can have
// everything listed anew.
//
// Anew is more than what client-go does by itself when a server comes back: it
// asks for what happened since the version that it holds. A server restored from
// an older snapshot counts on from an older version, knows nothing of what
// happened between, and says nothing.
type patience struct {
	pause time.Duration
	clock func() time.Time

	mu    sync.Mutex
	round uint64 // of listing; what was listed in an earlier one does not count
	lines map[string]*line
	heard time.Time // when a watch last said anything
	// told has room for one: something is new.
	told chan struct{}
	// installed is closed when a kind of federator's own can be read that could not:
	// the others may be there, too, or follow: eager is when that was last.
	installed chan struct{}
	eager     time.Time
}

// line is the requests for one kind of object.
type line struct {
	fault *fault
	// listed is the round in which the server last listed the kind from the
	// beginning, taken the one whose list the informer is known to hold; 0 for none.
	listed, taken uint64
	watches       map[*watched]struct{}
}

// fault is why a kind of object cannot be read.
type fault struct {
	since time.Time
	err   error
	// away: it is the server that is missing, and not only the kind or the right.
	away bool
	// forbidden: the server does not allow it. Rights tells of that, too.
	forbidden bool
}

func newPatience() *patience {
	return &patience{round: 1, pause: askAgain, clock: time.Now, lines: map[string]*line{}, told: make(chan struct{}, 1), installed: make(chan struct{})}
}

// through returns a configuration of clients whose requests go through here.
func (p *patience) through(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.Timeout = 0 // a watch goes on; connections have a keep-alive
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return &patient{p, next} })
	return c
}

// relist has every informer list its kind anew: their watches end, and every
// request is refused as outdated but one for all there is.
func (p *patience) relist() {
	p.mu.Lock()
	p.round++
	var open []*watched
	for _, l := range p.lines {
		for w := range l.watches {
			open = append(open, w)
		}
	}
	p.mu.Unlock()
	for _, w := range open {
		_ = w.Close()
	}
}

// relisted reports whether every kind that can be read was listed in this round,
// and is held by its informer.
func (p *patience) relisted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if l.fault == nil && l.taken != p.round {
			return false
		}
	}
	return true
}

// optional reports whether a path is that of a kind which a cluster may lack:
// federator's own.
func optional(path string) bool { return strings.HasPrefix(path, "/apis/"+v1alpha1.Group+"/") }

// lacking returns since when and why a kind of federator's own cannot be read
// although the server answers; the error is nil if nothing is in the way.
func (p *patience) lacking(resource string) (since time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.lines["/apis/"+v1alpha1.GroupVersion().String()+"/"+resource]; l != nil && l.fault != nil && !l.fault.away {
		return l.fault.since, l.fault.err
	}
	return time.Time{}, nil
}

// tolerable reports whether a fault of a kind is in nobody's way: what is exported,
// flips above all, must not stop because a kind may not be read that it does not
// depend on, or only by zones, which stay as they were read.
func (l *line) tolerable(at string) bool {
	switch kind := path.Base(at); {
	case l.fault.away:
		return false
	case optional(at):
		return true
	case !l.fault.forbidden:
		return false
	default:
		return kind == "namespaces" || kind == "serviceimports" || kind == "nodes" && l.taken > 0
	}
}

// worst returns what is most in the way of reading: an absent server before all
// else, then what lasts longest; nil if nothing is.
func (p *patience) worst() *fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	var worst *fault
	for at, l := range p.lines {
		if f := l.fault; f != nil && !l.tolerable(at) && (worst == nil || f.away && !worst.away || f.away == worst.away && f.since.Before(worst.since)) {
			worst = f
		}
	}
	return worst
}

// heardSince reports whether a watch said anything since then.
func (p *patience) heardSince(t time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.heard.Before(t)
}

// at returns the line of a path. The caller holds the lock.
func (p *patience) at(path string) *line {
	if p.lines[path] == nil {
		p.lines[path] = &line{watches: map[*watched]struct{}{}}
	}
	return p.lines[path]
}

// note remembers why a kind cannot be read; nil that it can.
func (p *patience) note(path string, f *fault) {
	p.mu.Lock()
	l := p.at(path)
	news := (f == nil) != (l.fault == nil)
	if f != nil && l.fault != nil && f.away == l.fault.away {
		f.since = l.fault.since
	}
	l.fault = f
	if news && f == nil && optional(path) {
		close(p.installed)
		p.installed, p.eager = make(chan struct{}), p.clock()
	}
	p.mu.Unlock()
	if news {
		p.tell()
	}
}

func (p *patience) tell() {
	select {
	case p.told <- struct{}{}:
	default:
	}
}

// ask is what an informer asks for.
type ask struct {
	path    string
	watch   bool
	version string // what it holds
	next    bool   // the next page of a list
}

func asked(u *url.URL) ask {
	q := u.Query()
	return ask{path: u.Path, watch: q.Get("watch") == "true" || q.Get("watch") == "1", version: q.Get("resourceVersion"), next: q.Get("continue") != ""}
}

// all reports whether it is for everything there is.
func (a ask) all() bool { return !a.watch && !a.next && (a.version == "" || a.version == "0") }

// admit returns the round in which the server is asked; false if what the informer
// holds is of an earlier one.
func (p *patience) admit(a ask) (round uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.at(a.path)
	if l.listed != p.round && !a.all() && !a.next {
		return 0, false
	}
	if a.watch && l.taken != p.round { // it watches on from a list that it holds now
		l.taken = p.round
		p.tell()
	}
	return p.round, true
}

// patient is one connection's worth of patience.
type patient struct {
	*patience
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	a := asked(req.URL)
	for {
		round, ok := t.admit(a)
		if !ok {
			return outdated(req), nil
		}
		resp, err := t.next.RoundTrip(req)
		if req.Context().Err() != nil {
			return resp, err
		}
		f, again := t.examine(a, resp, err)
		t.note(a.path, f)
		if f == nil {
			return t.take(a, round, resp), err
		}
		if !again {
			return resp, err
		}
		if resp != nil {
			_ = resp.Body.Close()
		}
		pause, sooner := t.rest(a, f)
		select {
		case <-req.Context().Done():
			return nil, req.Context().Err()
		case <-time.After(pause):
		case <-sooner:
		}
	}
}

// rest returns how long to wait until a request is made again, and what ends that
// earlier.
func (p *patience) rest(a ask, f *fault) (pause time.Duration, sooner <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	if optional(a.path) && errors.Is(f.err, ErrNotInstalled) && now.Sub(f.since) >= askEagerly && now.Sub(p.eager) >= askEagerly {
		return askSeldom, p.installed
	}
	return p.pause, nil
}

// take notes an answer, and listens in on a watch.
func (t *patient) take(a ask, round uint64, resp *http.Response) *http.Response {
	if resp == nil || resp.StatusCode != http.StatusOK {
		return resp
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.at(a.path)
	switch {
	case a.all():
		l.listed = round
	case a.watch:
		w := &watched{ReadCloser: resp.Body, of: t.patience, line: l}
		l.watches[w] = struct{}{}
		resp.Body = w
		if round != t.round { // everything is read anew since it was asked for
			_ = resp.Body.(*watched).ReadCloser.Close()
		}
	}
	return resp
}

// examine says what an answer means for the kind, and whether to ask again.
func (t *patient) examine(a ask, resp *http.Response, err error) (f *fault, again bool) {
	now := t.clock()
	if err != nil {
		return &fault{since: now, err: unanswered(err), away: true}, true
	}
	what := path.Base(a.path)
	verb := "list"
	if a.watch {
		verb = "watch"
	}
	switch resp.StatusCode {
	case http.StatusNotFound:
		crds := "of the Multi-Cluster Services API (multicluster.x-k8s.io/v1beta1)"
		if optional(a.path) {
			crds = "of " + v1alpha1.GroupVersion().String()
		}
		return &fault{since: now, err: fmt.Errorf("kubernetes: %w %s; install the CRDs %s: they are taken up by themselves", ErrNotInstalled, what, crds)}, true
	case http.StatusForbidden:
		return &fault{since: now, err: fmt.Errorf("kubernetes: not allowed to %s %s; grant it to the service account of this replica (ClusterRole federator)", verb, what), forbidden: true}, true
	case http.StatusUnauthorized:
		return &fault{since: now, err: fmt.Errorf("kubernetes: the API server does not accept the credentials of this replica (401 at %s %s)", verb, what)}, false
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable:
		return &fault{since: now, err: fmt.Errorf("kubernetes: the API server answers %s to %s %s", resp.Status, verb, what), away: true}, true
	}
	return nil, false
}

// unanswered says why a server does not answer, without what differs from one try
// to the next, such as our own port.
func unanswered(err error) error {
	var wire *net.OpError
	if errors.As(err, &wire) && wire.Addr != nil {
		return fmt.Errorf("kubernetes: the API server at %s does not answer (%s): %w", wire.Addr, wire.Op, wire.Err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("kubernetes: the API server does not answer: %w", context.DeadlineExceeded)
	}
	return fmt.Errorf("kubernetes: the API server does not answer: %w", err)
}

// outdated is the answer of a server that no longer knows the version asked about.
// The informer then asks for everything there is.
func outdated(req *http.Request) *http.Response {
	body := []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"everything is read anew"}`)
	return &http.Response{
		StatusCode: http.StatusGone, Status: "410 Gone", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
}

// watched is the body of a watch.
type watched struct {
	io.ReadCloser
	of   *patience
	line *line
}

// Read implements [io.Reader].
func (w *watched) Read(b []byte) (int, error) {
	n, err := w.ReadCloser.Read(b)
	if n > 0 {
		w.of.mu.Lock()
		w.of.heard = w.of.clock()
		w.of.mu.Unlock()
	}
	return n, err
}

// Close implements [io.Closer].
func (w *watched) Close() error {
	w.of.mu.Lock()
	delete(w.line.watches, w)
	w.of.mu.Unlock()
	return w.ReadCloser.Close()
}
