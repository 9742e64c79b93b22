package checker

import (
	"maps"
	"testing"
	"time"
)

func TestViewsMustBeTheTruthAndTheSame(t *testing.T) {
	truth := Truth{
		Services: map[string]map[string]map[string]string{"shop/checkout": {"west": {"10.0.0.1": "healthy"}, "east": {"10.0.1.1": "unhealthy"}}},
		Policies: map[string]string{"default": "{}"},
	}
	right := View{
		"endpoint 10.0.0.1 of shop/checkout in west": "healthy",
		"endpoint 10.0.1.1 of shop/checkout in east": "unhealthy",
		"policy default": "{}" + versionMark + "3 17 west",
	}
	but := func(key, value string) View {
		v := maps.Clone(right)
		v[key] = value
		return v
	}
	without := func(key string) View {
		v := maps.Clone(right)
		delete(v, key)
		return v
	}
	const endpoint, policy = "endpoint 10.0.0.1 of shop/checkout in west", "policy default"
	for _, tt := range []struct {
		name  string
		other View
		want  int // against the truth and against the first
	}{
		{"the same", right, 0},
		{"an endpoint is missing", without(endpoint), 2},
		{"an endpoint too many", but("endpoint 10.0.0.9 of shop/checkout in west", "healthy"), 2},
		{"another health", but(endpoint, "unhealthy"), 2},
		{"stale", but(endpoint, "healthy, stale"), 2},
		{"another policy", but(policy, `{"a":1}`+versionMark+"3 17 west"), 2},
		{"another version of the same policy", but(policy, "{}"+versionMark+"4 17 west"), 1},
		{"a policy too many", but("policy shop/none", "{}"), 2},
		{"what a checker wrote, here only", but("policy lab/kept-west-0", "{}"), 1},
	} {
		found := differences(truth, []string{"first", "other"}, []View{right, tt.other}, time.Time{})
		if len(found) != tt.want {
			t.Errorf("%s: expected %d differences, found %v", tt.name, tt.want, found)
		}
	}
	both := but("endpoint 10.0.0.7 of lab/kept-west-1 in west", "healthy")
	if found := differences(truth, []string{"a", "b"}, []View{both, both}, time.Time{}); len(found) != 0 {
		t.Errorf("expected what checkers wrote to be nobody's concern where all see it, found %v", found)
	}
}
