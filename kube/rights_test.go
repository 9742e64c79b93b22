package kube

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// stern is an API server that refuses everything but reviews, which say allowed.
type stern struct {
	says    atomic.Pointer[string]
	allowed atomic.Bool
	silent  atomic.Bool
	asked   atomic.Pointer[authorizationv1.ResourceAttributes]
}

// ServeHTTP implements [http.Handler].
func (s *stern) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if !strings.HasSuffix(req.URL.Path, "/selfsubjectaccessreviews") {
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden, Message: *s.says.Load(),
		})
		return
	}
	if s.silent.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var review authorizationv1.SelfSubjectAccessReview
	body, _ := io.ReadAll(req.Body)
	_ = json.Unmarshal(body, &review)
	s.asked.Store(review.Spec.ResourceAttributes)
	review.Status.Allowed = s.allowed.Load()
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(review)
}

// court is such a server, what is remembered of it, and a client that is watched.
type court struct {
	*testing.T
	*stern
	rights *Rights
	client kubernetes.Interface
	log    strings.Builder
	now    time.Time
}

func newCourt(t *testing.T) *court {
	c := &court{T: t, stern: &stern{}, now: time.Now()}
	server := httptest.NewServer(c.stern)
	t.Cleanup(server.Close)
	c.rights = NewRights(slog.New(slog.NewTextHandler(&c.log, nil)))
	c.rights.clock = func() time.Time { return c.now }
	config, err := c.rights.Watch(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	return c
}

// refuse has the client be refused something in these words.
func (c *court) refuse(says string) {
	c.Helper()
	c.says.Store(&says)
	_, err := c.client.CoreV1().Events("shop").List(c.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || err.Error() != says {
		c.Fatalf("expected the client to see the refusal as it was, found %v", err)
	}
}

// reviewed has all that was refused be reviewed after a while.
func (c *court) reviewed(after time.Duration) []Denial {
	c.now = c.now.Add(after)
	c.rights.reviewAll(c.Context())
	return c.rights.Denied()
}

func TestWhatTheAPIServerRefusesIsRememberedUntilItIsAllowed(t *testing.T) {
	c := newCourt(t)
	for says, want := range map[string]Denial{
		`events is forbidden: User "system:serviceaccount:federator-system:federator" cannot create resource "events" in API group "" in the namespace "shop"`: {
			Verb: "create", Resource: "events", Namespace: "shop",
		},
		`services is forbidden: User "u" cannot list resource "services" in API group "" at the cluster scope`: {Verb: "list", Resource: "services"},
		`leases.coordination.k8s.io "federator-imports" is forbidden: User "u" cannot update resource "leases" in API group "coordination.k8s.io" in the namespace "federator-system": RBAC: clusterrole "x" not found`: {
			Verb: "update", Resource: "leases", Group: "coordination.k8s.io", Namespace: "federator-system", Name: "federator-imports",
		},
		`serviceimports.multicluster.x-k8s.io "checkout" is forbidden: User "u" cannot update resource "serviceimports/status" in API group "multicluster.x-k8s.io" in the namespace "shop"`: {
			Verb: "update", Resource: "serviceimports/status", Group: "multicluster.x-k8s.io", Namespace: "shop", Name: "checkout",
		},
	} {
		c.allowed.Store(false)
		c.log.Reset()
		c.refuse(says)
		want.Since = c.now
		if got := c.reviewed(0); len(got) != 0 {
			t.Errorf("an API server that starts refuses everything: expected nothing to be said yet, found %v", got)
		}
		if got := c.reviewed(grace); len(got) != 1 || got[0] != want {
			t.Fatalf("expected %+v, found %+v", want, got)
		}
		asked := c.asked.Load()
		if asked.Verb != want.Verb || strings.TrimSuffix(asked.Resource+"/"+asked.Subresource, "/") != want.Resource || asked.Group != want.Group || asked.Namespace != want.Namespace || asked.Name != want.Name {
			t.Errorf("expected a review of %+v, found %+v", want, asked)
		}
		for _, word := range []string{"verb=" + want.Verb, "resource=" + want.Resource, "apiGroup=" + want.Group, "Role federator"} {
			if strings.Count(c.log.String(), word) != 1 {
				t.Errorf("expected %q once in the log, found %s", word, c.log.String())
			}
		}
		c.silent.Store(true)
		if len(c.reviewed(grace)) != 1 {
			t.Error("expected it to stay while the API server does not say")
		}
		c.silent.Store(false)
		c.allowed.Store(true)
		if got := c.reviewed(0); len(got) != 0 {
			t.Errorf("expected it to be forgotten once it is allowed, found %+v", got)
		}
	}
}

func TestWhatIsRefusedForOtherReasonsIsNoMissingRight(t *testing.T) {
	c := newCourt(t)
	for _, says := range []string{
		`services "a" is forbidden: unable to create new content in namespace shop because it is being terminated`,
		`services "a" is forbidden: exceeded quota: q, requested: services=1, used: services=5, limited: services=5`,
		`admission webhook "w" denied the request: cannot create resource here`,
	} {
		if c.refuse(says); len(c.rights.denied) != 0 {
			t.Errorf("%s: expected no right to be missing, found %v", says, c.rights.denied)
		}
	}
}

func TestARightThatNobodyAsksForAnyMoreIsForgottenWhereItCannotBeReviewed(t *testing.T) {
	c := newCourt(t)
	c.silent.Store(true)
	c.refuse(`services is forbidden: User "u" cannot list resource "services" in API group "" at the cluster scope`)
	if got := c.reviewed(grace); len(got) != 1 {
		t.Errorf("expected it to be said although it cannot be reviewed, found %v", got)
	}
	if got := c.reviewed(forgetAfter); len(got) != 0 {
		t.Errorf("expected it to be forgotten, found %v", got)
	}
}
