package kube

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// checkEvery is how often the API server is asked for one object, from its
	// store and not from memory; checkTimeout bounds that.
	checkEvery   = 2 * time.Second
	checkTimeout = 2 * time.Second
	// grace is how long the server may be missed before that is said: a restart is
	// no news.
	grace = 3 * time.Second
)

// link knows whether the API server answers, and has everything read anew when it
// comes back.
type link struct {
	patience *patience
	// version asks for the version of the server's store now.
	version func(context.Context) (uint64, error)
	clock   func() time.Time

	mu      sync.Mutex
	since   time.Time
	err     error
	relists uint64
	changed chan struct{}

	outage outage // of run alone
}

func newLink(core kubernetes.Interface) *link {
	return &link{
		patience: newPatience(), clock: time.Now, changed: make(chan struct{}),
		version: func(ctx context.Context) (uint64, error) {
			// A limited list is read from the store, and costs next to nothing.
			list, err := core.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{Limit: 1})
			if refused(err) {
				return 0, nil // by a server that is there; the informers say what is missing
			}
			if err != nil {
				return 0, unanswered(err)
			}
			version, _ := strconv.ParseUint(list.ResourceVersion, 10, 64) // 0 says nothing
			return version, nil
		},
	}
}

// refused reports whether the server answered, and did not want to.
func refused(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code >= 400 && status.Status().Code < 500
}

func (l *link) state() (time.Time, error) {
	if l == nil {
		return time.Time{}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since, l.err
}

func (l *link) next() <-chan struct{} {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *link) say(since time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text(err) != text(l.err) || !since.Equal(l.since) {
		l.since, l.err = since, err
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// run looks after the link until done is closed.
func (l *link) run(done <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-done
		cancel()
	}()
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-l.patience.told:
		case <-tick.C:
			l.check(ctx)
		}
		if ctx.Err() == nil {
			l.judge()
		}
	}
}

// check asks the server once. A server that says something on a watch meanwhile is
// busy, not away.
func (l *link) check(ctx context.Context) {
	start := l.clock()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	version, err := l.version(ctx)
	if err != nil && l.patience.heardSince(start) {
		err = nil
		version = 0
	}
	l.outage.checked(start, version, err)
}

// judge draws the conclusion.
func (l *link) judge() {
	now := l.clock()
	if l.outage.over(l.patience.worst()) {
		l.patience.relist()
		l.mu.Lock()
		l.relists++
		l.mu.Unlock()
	}
	l.say(l.outage.verdict(now, l.patience.worst(), l.patience.relisted()))
}

// outage is what is remembered of a server that is, or was, away. Its methods
// have no clock and no connection.
type outage struct {
	missing error     // of the last check
	failed  int       // checks in a row that failed
	since   time.Time // when the server was first missed; zero if it is not
	sure    bool      // it was away, and not only slow to answer once
	said    bool      // somebody was told
	anew    bool      // everything is being read anew
	highest uint64    // version of the store
}

var errAnew = errors.New("kubernetes: the API server is back, and everything is being read anew")

// checked takes in what a check that began at that time found. A store that went
// back to an older version was restored, or is another one.
func (o *outage) checked(at time.Time, version uint64, err error) {
	o.missing = err
	back := version != 0 && version < o.highest
	if o.failed++; err == nil {
		o.failed = 0
	}
	if err != nil || back {
		o.begin(at)
		o.sure = o.sure || back || o.failed > 1
	}
	if version != 0 {
		o.highest = version
	}
}

func (o *outage) begin(at time.Time) {
	o.anew = false
	if o.since.IsZero() {
		o.since = at
	}
}

// over reports whether the server is back and everything is to be read anew. It is
// true once an outage, and not for one check that took too long.
func (o *outage) over(f *fault) bool {
	if f != nil && f.away {
		o.begin(f.since)
		o.sure = true
	}
	if o.since.IsZero() || o.anew || o.missing != nil || f != nil && f.away {
		return false
	}
	if !o.sure {
		o.since = time.Time{}
		return false
	}
	o.anew = true
	return true
}

// verdict says what is to be said now.
func (o *outage) verdict(now time.Time, f *fault, relisted bool) (since time.Time, err error) {
	if o.anew && relisted {
		o.since, o.anew, o.said, o.sure = time.Time{}, false, false, false
	}
	switch {
	case f != nil && !f.away && o.since.IsZero():
		return f.since, f.err
	case o.since.IsZero() || !o.said && now.Sub(o.since) < grace:
		return time.Time{}, nil
	case o.anew:
		err = errAnew
	case o.missing != nil:
		err = o.missing
	case f != nil:
		err = f.err
	default:
		err = errAnew
	}
	o.said = true
	return o.since, err
}

// Register adds the metrics of the connection.
func (c *Cluster) Register(reg prometheus.Registerer) error {
	l := c.link
	return errors.Join(
		reg.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "federator_kube_relists_total", Help: "Times that everything was read anew from the Kubernetes API server, because it had been away or went back to an older state.",
		}, func() float64 {
			l.mu.Lock()
			defer l.mu.Unlock()
			return float64(l.relists)
		})),
		reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "federator_kube_stale_seconds", Help: "For how long what is known of the Kubernetes cluster may be old; 0 while its API server is read.",
		}, func() float64 {
			since, err := l.state()
			if err == nil {
				return 0
			}
			return l.clock().Sub(since).Seconds()
		})))
}
