package attest

import (
	"errors"
	"strings"
	"testing"

	authentication "k8s.io/api/authentication/v1"
	"pgregory.net/rapid"
)

const audience = "federator.acme.example"

// good is what an API server says of a token that proves its pod.
func good() *authentication.TokenReviewStatus {
	return &authentication.TokenReviewStatus{
		Authenticated: true, Audiences: []string{audience},
		User: authentication.UserInfo{
			Username: "system:serviceaccount:shop:web", UID: "sa-uid",
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"},
			Extra: map[string]authentication.ExtraValue{
				podNameKey: {"web-0"}, podUIDKey: {"pod-uid"}, nodeNameKey: {"node-1"}, credentialKey: {"JTI=1"},
			},
		},
	}
}

func TestAPodIsWhoTheAPIServerSaysItIs(t *testing.T) {
	got, err := judge(good(), audience)
	want := Pod{Namespace: "shop", ServiceAccount: "web", Name: "web-0", UID: "pod-uid", Node: "node-1", Credential: "JTI=1"}
	if err != nil || got != want {
		t.Fatalf("expected %+v, found %+v, %v", want, got, err)
	}
}

func TestWhatIsNotTheTokenOfALivingPodIsRefused(t *testing.T) {
	type status = authentication.TokenReviewStatus
	extra := func(key string, values ...string) func(*status) {
		return func(s *status) { s.User.Extra[key] = values }
	}
	for name, tt := range map[string]struct {
		change func(*status)
		says   string
	}{
		"not authenticated":           {func(s *status) { s.Authenticated = false }, "read the token file anew"},
		"an error beside a yes":       {func(s *status) { s.Error = "who knows" }, "who knows"},
		"another cluster's":           {func(s *status) { *s = status{Error: "[invalid bearer token]"} }, "a replica of the pod's own cluster"},
		"no audience is told":         {func(s *status) { s.Audiences = nil }, "expected " + audience},
		"for the API server":          {func(s *status) { s.Audiences = []string{"https://kubernetes.default.svc"} }, "kubernetes.default"},
		"nobody":                      {func(s *status) { s.User.Username = "" }, "expected a service account"},
		"a person":                    {func(s *status) { s.User.Username = "jo" }, "expected a service account"},
		"a node":                      {func(s *status) { s.User.Username = "system:node:a" }, "expected a service account"},
		"no name":                     {func(s *status) { s.User.Username = "system:serviceaccount:shop" }, "expected a service account"},
		"an empty name":               {func(s *status) { s.User.Username = "system:serviceaccount:shop:" }, "expected a service account"},
		"a name of three parts":       {func(s *status) { s.User.Username = "system:serviceaccount:shop:web:x" }, "expected a service account"},
		"a path for a name":           {func(s *status) { s.User.Username = "system:serviceaccount:shop:web/x" }, "expected a service account"},
		"a path for a namespace":      {func(s *status) { s.User.Username = "system:serviceaccount:shop/x:web" }, "expected a service account"},
		"a service account in name":   {func(s *status) { s.User.Groups = []string{"system:authenticated"} }, "not in the group"},
		"the group of another":        {func(s *status) { s.User.Groups = []string{"system:serviceaccounts:bank"} }, "not in the group"},
		"bound to nothing":            {func(s *status) { s.User.Extra = nil }, "bound to no pod"},
		"bound to a node only":        {func(s *status) { delete(s.User.Extra, podNameKey); delete(s.User.Extra, podUIDKey) }, "serviceAccountToken"},
		"a pod without a UID":         {func(s *status) { delete(s.User.Extra, podUIDKey) }, "bound to no pod"},
		"a pod without a name":        {func(s *status) { delete(s.User.Extra, podNameKey) }, "bound to no pod"},
		"two pods":                    {extra(podNameKey, "a", "b"), "bound to no pod"},
		"an empty UID":                {extra(podUIDKey, ""), "bound to no pod"},
		"a UID with a line's end":     {extra(podUIDKey, "a\nb"), "bound to no pod"},
		"a UID that is far too long":  {extra(podUIDKey, strings.Repeat("a", 257)), "bound to no pod"},
		"a pod's name that is no one": {extra(podNameKey, "Web_0"), "bound to no pod"},
	} {
		s := good()
		tt.change(s)
		got, err := judge(s, audience)
		if !errors.Is(err, ErrRefused) || got != (Pod{}) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: expected a refusal that says %q, found %+v, %v", name, tt.says, got, err)
		}
	}
}

func TestAnAPIServerThatTellsNoMoreThanThePodIsEnough(t *testing.T) {
	s := good()
	delete(s.User.Extra, nodeNameKey)
	delete(s.User.Extra, credentialKey)
	s.User.Username, s.User.Groups = "system:serviceaccount:shop:web.front", []string{"system:serviceaccounts:shop"}
	if got, err := judge(s, audience); err != nil || got.ServiceAccount != "web.front" || got.Node != "" {
		t.Errorf("found %+v, %v", got, err)
	}
}

// Whatever an API server says, a pod is accepted only as the account that the answer
// names, for our audience and with one pod.
func TestAnAcceptedPodIsAlwaysTheOneOfTheAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"shop", "web", "a.b", "", "A", "x:y", "../..", "a/b"})
		s := good()
		s.Authenticated = rapid.Bool().Draw(t, "authenticated")
		ns, sa := part.Draw(t, "namespace"), part.Draw(t, "account")
		s.User.Username = userPrefix + ns + ":" + sa
		s.User.Groups = []string{groupPrefix + part.Draw(t, "group")}
		s.User.Extra[podNameKey] = rapid.SliceOfN(part, 0, 2).Draw(t, "pods")
		s.Audiences = rapid.SliceOfN(rapid.SampledFrom([]string{audience, "other"}), 0, 2).Draw(t, "audiences")
		p, err := judge(s, audience)
		if err != nil {
			return
		}
		if !s.Authenticated || s.User.Username != userPrefix+p.Namespace+":"+p.ServiceAccount || s.User.Groups[0] != groupPrefix+p.Namespace || len(s.User.Extra[podNameKey]) != 1 || len(s.Audiences) == 0 {
			t.Fatalf("accepted %+v by %+v", p, s)
		}
	})
}
