package attest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// server is an API server that answers reviews as it is told.
func server(t *testing.T, answer func(w http.ResponseWriter, review *authentication.TokenReview)) *Reviewer {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review authentication.TokenReview
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(b, &review)
		}
		if err != nil || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || r.Method != http.MethodPost {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		w.Header().Set("Content-Type", "application/json")
		answer(w, &review)
	}))
	t.Cleanup(s.Close)
	transport := &http.Transport{DisableKeepAlives: true}
	// JSON, so that this server can read it.
	json := rest.ContentConfig{ContentType: "application/json", AcceptContentTypes: "application/json"}
	core, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL, Transport: transport, ContentConfig: json, QPS: 1000, Burst: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return New(core, "west-1", "acme.example")
}

func send(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func TestTheAPIServerIsAskedForOurAudienceEveryTime(t *testing.T) {
	asked := 0
	r := server(t, func(w http.ResponseWriter, review *authentication.TokenReview) {
		asked++
		if len(review.Spec.Audiences) != 1 || review.Spec.Audiences[0] != audience || review.Spec.Token != forged(whole) {
			t.Errorf("asked for %+v", review.Spec.Audiences)
		}
		review.TypeMeta.Kind, review.TypeMeta.APIVersion = "TokenReview", "authentication.k8s.io/v1"
		review.Status = *good()
		send(w, review)
	})
	for range 2 {
		if p, err := r.Review(t.Context(), forged(whole)); err != nil || p.Name != "web-0" {
			t.Fatalf("found %+v, %v", p, err)
		}
	}
	if _, fault := r.Fault(); fault != nil {
		t.Error(fault)
	}
	if asked != 2 {
		t.Errorf("two reviews asked the API server %d times", asked)
	}
}

func TestWhatCannotBeATokenIsNotReviewed(t *testing.T) {
	r := server(t, func(http.ResponseWriter, *authentication.TokenReview) { t.Error("the API server was asked") })
	for _, token := range []string{"", "x", strings.Repeat("a", MaxToken+1), "a.b.c.d"} {
		if _, err := r.Review(t.Context(), token); !errors.Is(err, ErrRefused) {
			t.Errorf("%.10q: %v", token, err)
		}
	}
}

func TestAnAPIServerThatDoesNotDecideIsNoRefusal(t *testing.T) {
	token := forged(whole)
	for name, tt := range map[string]struct {
		code int
		says string
	}{
		"it does not let us":   {403, "create tokenreviews.authentication.k8s.io"},
		"it does not know us":  {401, "west-1"},
		"it has no such thing": {404, "west-1"},
		"it is broken":         {500, "west-1"},
		"it is not ready":      {503, "try again"},
	} {
		r := server(t, func(w http.ResponseWriter, _ *authentication.TokenReview) {
			w.WriteHeader(tt.code)
			send(w, map[string]any{"kind": "Status", "apiVersion": "v1", "code": tt.code, "reason": http.StatusText(tt.code), "message": "no: " + token})
		})
		_, err := r.Review(t.Context(), token)
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: expected to be told %q and to try again, found %v", name, tt.says, err)
		}
		if strings.Contains(err.Error(), strings.Split(token, ".")[1]) {
			t.Errorf("%s: the token is in the error", name)
		}
		if since, fault := r.Fault(); fault == nil || since.IsZero() || fault.Error() != err.Error() {
			t.Errorf("%s: expected it to be remembered, found %s, %v", name, since, fault)
		}
	}
	gone := server(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := gone.Review(ctx, token); !errors.Is(err, ErrUnavailable) {
		t.Errorf("an API server that is away: %v", err)
	}
	if _, fault := gone.Fault(); fault != nil {
		t.Errorf("a pod that went away is taken for a fault of the API server: %v", fault)
	}
}

func TestATokenIsNotQuotedByTheAPIServersWords(t *testing.T) {
	token := forged(whole)
	r := server(t, func(w http.ResponseWriter, review *authentication.TokenReview) {
		review.Status = authentication.TokenReviewStatus{Error: "bad " + token + " and " + strings.Split(token, ".")[1]}
		send(w, review)
	})
	_, err := r.Review(t.Context(), token)
	if !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), strings.Split(token, ".")[1]) || !strings.Contains(err.Error(), "[token]") {
		t.Errorf("found %v", err)
	}
}

func TestReviewsBeyondTheBoundWaitForTheirTurn(t *testing.T) {
	release := make(chan struct{})
	r := server(t, func(w http.ResponseWriter, review *authentication.TokenReview) {
		<-release
		review.Status = *good()
		send(w, review)
	})
	done := make(chan error, reviews)
	for range reviews {
		go func() { _, err := r.Review(t.Context(), forged(whole)); done <- err }()
	}
	deadline := time.After(10 * time.Second)
	for len(r.turns) < reviews {
		select {
		case <-deadline:
			t.Fatalf("%d reviews are under way", len(r.turns))
		case <-time.After(time.Millisecond):
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Review(ctx, forged(whole)); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "under way") {
		t.Errorf("one too many: %v", err)
	}
	close(release)
	for range reviews {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestAFloodOfTokensIsNotAFloodForTheAPIServer(t *testing.T) {
	var asked atomic.Int64
	r := server(t, func(w http.ResponseWriter, review *authentication.TokenReview) {
		asked.Add(1)
		send(w, review) // of a token that proves nothing
	})
	ctx, cancel := context.WithCancel(t.Context())
	begun := time.Now()
	var pods sync.WaitGroup
	for range 4 * reviews {
		pods.Go(func() {
			for ctx.Err() == nil {
				if _, err := r.Review(ctx, forged(whole)); !errors.Is(err, ErrRefused) && ctx.Err() == nil {
					t.Errorf("expected a refusal, found %v", err)
				}
			}
		})
	}
	for asked.Load() < reviewBurst+reviewsPerSecond/2 {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	pods.Wait()
	if most := reviewBurst + int(time.Since(begun).Seconds()*reviewsPerSecond) + reviews; int(asked.Load()) > most {
		t.Errorf("expected at most %d reviews, found %d", most, asked.Load())
	}
}
