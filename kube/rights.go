package kube

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	authorization "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

const (
	// reviewEvery is how often the API server is asked again for rights that it
	// refused.
	reviewEvery = 2 * time.Second
	// forgetAfter is how long a refusal counts that was not repeated, where the API
	// server does not say whether it still holds.
	forgetAfter = 5 * time.Minute
	// maxRefusal bounds what is read of an answer that refuses something.
	maxRefusal = 16 << 10
)

// Denial is a right that this process asked for and does not have.
type Denial struct {
	// Verb, Resource and Group are as in a rule of RBAC: Resource has its subresource
	// behind a slash, and Group is "" for the core API.
	Verb, Resource, Group string
	// Namespace and Name are of the request that was refused first; "" where it was
	// for all.
	Namespace, Name string
	// Since is when it was refused first.
	Since time.Time
}

// Right returns the right in words.
func (d Denial) Right() string {
	if d.Group == "" {
		return d.Verb + " " + d.Resource + " of the core API group"
	}
	return d.Verb + " " + d.Resource + " of API group " + d.Group
}

// Role names the object of the manifests that grants it: what replicas need in their
// own namespace only is in a Role.
func (d Denial) Role() string {
	base, _, _ := strings.Cut(d.Resource, "/")
	switch {
	case slices.Contains([]string{"secrets", "configmaps", "statefulsets", "leases"}, base):
		return "Role federator in namespace " + d.Namespace
	case d.Verb == "get" && base == "services": // a pod's own load balancer
		return "Role federator-loadbalancer in namespace " + d.Namespace
	}
	return "ClusterRole federator"
}

type right struct{ verb, resource, group string }

// denied is what is remembered of a denial.
type denied struct {
	Denial
	last   time.Time // when it was refused last
	said   bool
	review authorization.SelfSubjectAccessReviewInterface
}

// Rights remembers what API servers refuse to the clients that it watches, until
// they allow it. A nil one remembers nothing.
type Rights struct {
	log     *slog.Logger
	clock   func() time.Time
	refusal *regexp.Regexp

	mu     sync.Mutex
	denied map[right]*denied
}

// NewRights returns one that has heard of no refusal.
func NewRights(log *slog.Logger) *Rights {
	return &Rights{
		log: log, clock: time.Now, denied: map[right]*denied{},
		// What every API server says when an authorizer refuses, and only then: quotas,
		// admission and namespaces that end refuse in other words. Quotes are escaped in
		// JSON and not in protobuf.
		refusal: regexp.MustCompile(`(?:\\?"([^"\\]*)\\?" )?is forbidden: User \\?"[^"\\]*\\?" cannot (\S+) resource \\?"([^"\\]+)\\?" in API group \\?"([^"\\]*)\\?"(?: in the namespace \\?"([^"\\]+)\\?")?`),
	}
}

// Watch returns a configuration of clients that are watched.
func (r *Rights) Watch(config *rest.Config) (*rest.Config, error) {
	if r == nil {
		return config, nil
	}
	asks, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: client of %s: %w", config.Host, err)
	}
	watched := rest.CopyConfig(config)
	watched.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &rightful{r, next, asks.AuthorizationV1().SelfSubjectAccessReviews()}
	})
	return watched, nil
}

// rightful is the requests of one configuration.
type rightful struct {
	rights *Rights
	next   http.RoundTripper
	review authorization.SelfSubjectAccessReviewInterface
}

// RoundTrip implements [http.RoundTripper].
func (t *rightful) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusForbidden {
		return resp, err
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	resp.Body = readAgain{io.MultiReader(bytes.NewReader(head), failing{err}, resp.Body), resp.Body}
	t.rights.heard(head, t.review)
	return resp, nil
}

// readAgain is a body of which something was read and put back.
type readAgain struct {
	io.Reader
	io.Closer
}

// failing fails as the body did, or is empty.
type failing struct{ err error }

// Read implements [io.Reader].
func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

// heard takes in an answer that refuses something.
func (r *Rights) heard(answer []byte, review authorization.SelfSubjectAccessReviewInterface) {
	m := r.refusal.FindSubmatch(answer)
	if m == nil {
		return
	}
	now := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	key := right{verb: string(m[2]), resource: string(m[3]), group: string(m[4])}
	d := r.denied[key]
	if d == nil {
		d = &denied{review: review, Denial: Denial{
			Verb: key.verb, Resource: key.resource, Group: key.group, Namespace: string(m[5]), Name: string(m[1]), Since: now,
		}}
		r.denied[key] = d
	}
	d.last = now
}

// Denied returns what is refused for longer than a start of an API server takes,
// ordered by resource and verb.
func (r *Rights) Denied() []Denial {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Denial
	for _, d := range r.denied {
		if d.said {
			out = append(out, d.Denial)
		}
	}
	slices.SortFunc(out, func(a, b Denial) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Verb, b.Verb))
	})
	return out
}

// Run asks again for what was refused, until ctx ends.
func (r *Rights) Run(ctx context.Context) {
	if r == nil {
		return
	}
	tick := time.NewTicker(reviewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.reviewAll(ctx)
		}
	}
}

func (r *Rights) reviewAll(ctx context.Context) {
	r.mu.Lock()
	var all []*denied
	for _, d := range r.denied {
		all = append(all, d)
	}
	r.mu.Unlock()
	for _, d := range all {
		limited, cancel := context.WithTimeout(ctx, checkTimeout)
		answer, err := d.review.Create(limited, d.question(), metav1.CreateOptions{})
		cancel()
		if ctx.Err() != nil {
			return
		}
		r.reviewed(d, err == nil && answer.Status.Allowed, err)
	}
}

func (d *denied) question() *authorizationv1.SelfSubjectAccessReview {
	resource, sub, _ := strings.Cut(d.Resource, "/")
	return &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: d.Verb, Group: d.Group, Resource: resource, Subresource: sub, Namespace: d.Namespace, Name: d.Name,
		},
	}}
}

// reviewed takes in whether a right is granted by now.
func (r *Rights) reviewed(d *denied, granted bool, err error) {
	now := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case granted || err != nil && now.Sub(d.last) > forgetAfter:
		delete(r.denied, right{d.Verb, d.Resource, d.Group})
		if d.said {
			r.log.Info("the API server allows it again", "verb", d.Verb, "resource", d.Resource, "apiGroup", d.Group)
		}
	case !d.said && now.Sub(d.Since) >= grace:
		d.said = true
		r.log.Warn("the API server does not allow what this replica needs", "verb", d.Verb, "resource", d.Resource, "apiGroup", d.Group,
			"namespace", d.Namespace, "name", d.Name, "action", "grant it to the service account of this replica: "+d.Role())
	}
}
