package kube

import (
	"context"
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

func TestWhatTheAPIServerRefusesIsRememberedUntilItIsAllowed(t *testing.T) {
	s := &stern{}
	server := httptest.NewServer(s)
	defer server.Close()
	var log strings.Builder
	r := NewRights(slog.New(slog.NewTextHandler(&log, nil)))
	now := time.Now()
	r.clock = func() time.Time { return now }
	config, err := r.Watch(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
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
		s.says.Store(&says)
		s.allowed.Store(false)
		log.Reset()
		_, err := client.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want.Resource) {
			t.Fatalf("expected the client to see the refusal as it was, found %v", err)
		}
		if r.reviewAll(t.Context()); len(r.Denied()) != 0 {
			t.Errorf("an API server that starts refuses everything: expected nothing to be said yet, found %v", r.Denied())
		}
		want.Since = now
		now = now.Add(grace)
		r.reviewAll(t.Context())
		if got := r.Denied(); len(got) != 1 || got[0] != want {
			t.Fatalf("expected %+v, found %+v", want, got)
		}
		asked := s.asked.Load()
		if asked.Verb != want.Verb || strings.TrimSuffix(asked.Resource+"/"+asked.Subresource, "/") != want.Resource || asked.Group != want.Group || asked.Namespace != want.Namespace || asked.Name != want.Name {
			t.Errorf("expected a review of %+v, found %+v", want, asked)
		}
		for _, word := range []string{"verb=" + want.Verb, "resource=" + want.Resource, "apiGroup=" + want.Group, "Role federator"} {
			if strings.Count(log.String(), word) != 1 {
				t.Errorf("expected %q once in the log, found %s", word, log.String())
			}
		}
		s.silent.Store(true)
		if r.reviewAll(t.Context()); len(r.Denied()) != 1 {
			t.Error("expected it to stay while the API server does not say")
		}
		s.silent.Store(false)
		s.allowed.Store(true)
		if r.reviewAll(t.Context()); len(r.Denied()) != 0 {
			t.Errorf("expected it to be forgotten once it is allowed, found %+v", r.Denied())
		}
	}
}

func TestWhatIsRefusedForOtherReasonsIsNoMissingRight(t *testing.T) {
	s := &stern{}
	server := httptest.NewServer(s)
	defer server.Close()
	r := NewRights(slog.New(slog.DiscardHandler))
	config, err := r.Watch(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{
		`services "a" is forbidden: unable to create new content in namespace shop because it is being terminated`,
		`services "a" is forbidden: exceeded quota: q, requested: services=1, used: services=5, limited: services=5`,
		`admission webhook "w" denied the request: cannot create resource here`,
	} {
		s.says.Store(&says)
		_, err := client.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{})
		if !apierrors.IsForbidden(err) || len(r.denied) != 0 {
			t.Errorf("%s: expected no right to be missing, found %v, %v", says, r.denied, err)
		}
	}
}

func TestARightThatNobodyAsksForAnyMoreIsForgottenWhereItCannotBeReviewed(t *testing.T) {
	s := &stern{}
	s.silent.Store(true)
	server := httptest.NewServer(s)
	defer server.Close()
	says := `services is forbidden: User "u" cannot list resource "services" in API group "" at the cluster scope`
	s.says.Store(&says)
	r := NewRights(slog.New(slog.DiscardHandler))
	now := time.Now()
	r.clock = func() time.Time { return now }
	config, err := r.Watch(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = client.CoreV1().Services("").List(context.Background(), metav1.ListOptions{})
	now = now.Add(grace)
	if r.reviewAll(t.Context()); len(r.Denied()) != 1 {
		t.Errorf("expected it to be said although it cannot be reviewed, found %v", r.Denied())
	}
	now = now.Add(forgetAfter)
	if r.reviewAll(t.Context()); len(r.Denied()) != 0 {
		t.Errorf("expected it to be forgotten, found %v", r.Denied())
	}
}
