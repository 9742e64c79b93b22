package attest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	authentication "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// reviewTimeout bounds one review.
	reviewTimeout = 10 * time.Second
	// reviews bounds how many are under way: strangers ask, and an API server has
	// other things to do.
	reviews = 16
	// reviewsPerSecond, after a burst, bounds how many there are: they share what one
	// replica may ask of its API server with what it reads and writes there.
	reviewsPerSecond = 50
	reviewBurst      = 100
)

// Reviewer has the API server of one cluster review tokens.
type Reviewer struct {
	core     kubernetes.Interface
	cluster  string
	audience string
	turns    chan struct{}
	pace     *rate.Limiter

	mu    sync.Mutex
	since time.Time // when reviews began to go unanswered
	fault error
}

// New makes a reviewer for the tokens of a trust domain. cluster is its name in the
// federation, for people.
func New(core kubernetes.Interface, cluster, trustDomain string) *Reviewer {
	return &Reviewer{core: core, cluster: cluster, audience: Audience(trustDomain), turns: make(chan struct{}, reviews), pace: rate.NewLimiter(reviewsPerSecond, reviewBurst)}
}

// Review finds out whose token it is. Nothing is remembered: a token that was good a
// moment ago is reviewed again. The error wraps [ErrRefused] or [ErrUnavailable] and
// says what to do; the token is not in it.
func (r *Reviewer) Review(ctx context.Context, token string) (Pod, error) {
	if _, err := Read(token); err != nil {
		return Pod{}, refused("%w", err) // not worth the API server's time
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	select {
	case r.turns <- struct{}{}:
		defer func() { <-r.turns }()
	case <-ctx.Done():
		return Pod{}, fmt.Errorf("%w: %d reviews are under way in cluster %s; try again", ErrUnavailable, reviews, r.cluster)
	}
	if err := r.pace.Wait(ctx); err != nil {
		return Pod{}, fmt.Errorf("%w: more than %d reviews a second are asked of cluster %s; try again", ErrUnavailable, reviewsPerSecond, r.cluster)
	}
	review := &authentication.TokenReview{Spec: authentication.TokenReviewSpec{Token: token, Audiences: []string{r.audience}}}
	answer, err := r.core.AuthenticationV1().TokenReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		err = r.unavailable(err, token)
		if !errors.Is(ctx.Err(), context.Canceled) { // the pod went away
			r.note(err)
		}
		return Pod{}, err
	}
	r.note(nil)
	answer.Status.Error = scrub(answer.Status.Error, token)
	return judge(&answer.Status, r.audience)
}

// note remembers whether the API server answered the last review.
func (r *Reviewer) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || r.fault == nil {
		r.since = time.Now()
	}
	r.fault = err
}

// Fault says since when, and why, reviews are not answered; nil if the last one was.
// It knows only of those that pods asked for.
func (r *Reviewer) Fault() (since time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since, r.fault
}

// unavailable says why there was no review.
func (r *Reviewer) unavailable(err error, token string) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%w: the replicas of cluster %s may not `create tokenreviews.authentication.k8s.io`; grant it, as deploy/clusters/base/rbac.yaml does", ErrUnavailable, r.cluster)
	}
	return fmt.Errorf("%w: the API server of cluster %s: %s; try again", ErrUnavailable, r.cluster, words(scrub(err.Error(), token)))
}

// scrub takes a token, and its parts, out of a text that somebody else wrote.
func scrub(text, token string) string {
	text = strings.ReplaceAll(text, token, "[token]")
	for part := range strings.SplitSeq(token, ".") {
		if len(part) >= minPart {
			text = strings.ReplaceAll(text, part, "[token]")
		}
	}
	return text
}

// minPart is the length in bytes from which on a part of a token can be no word of
// an error.
const minPart = 32
