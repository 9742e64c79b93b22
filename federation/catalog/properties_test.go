package catalog

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestKeysOfKubernetesAndOfOursAreReserved(t *testing.T) {
	for key, want := range map[string]bool{
		"team": false, "acme.example/team": false, "kubernetes.io": false, "notkubernetes.io/x": false, "kubernetes.io.acme.example/x": false,
		"kubernetes.io/x": true, "kubectl.kubernetes.io/last-applied-configuration": true, "multicluster.kubernetes.io/derived-service": true,
		"app.kubernetes.io/name": true, "a.b.k8s.io/x": true, "multicluster.x-k8s.io/x": true, "federator.dev/import": true, "x.federator.dev/y": true,
	} {
		if got := ReservedKey(key); got != want {
			t.Errorf("%s: expected %v, found %v", key, want, got)
		}
	}
}

// many are n pairs of which each takes the bytes.
func many(n, bytes int) map[string]string {
	out := map[string]string{}
	for i := range n {
		key := fmt.Sprintf("k%03d", i)
		out[key] = strings.Repeat("v", bytes-len(key))
	}
	return out
}

func TestPropertiesAreBounded(t *testing.T) {
	label := func(k, v string) *Properties { return &Properties{Labels: map[string]string{k: v}} }
	note := func(k, v string) *Properties { return &Properties{Annotations: map[string]string{k: v}} }
	for name, c := range map[string]struct {
		p    *Properties
		says string // "" if they are within bounds
	}{
		"none":                   {nil, ""},
		"all there may be":       {&Properties{Labels: many(32, 64), Annotations: many(32, 192), NodeLocal: true}, ""},
		"a reserved key":         {label("kubernetes.io/x", "v"), ""}, // not taken over, see permitted
		"labels":                 {&Properties{Labels: many(33, 5)}, "33 labels and 0 annotations, expected at most 32"},
		"annotations":            {&Properties{Annotations: many(33, 5)}, "33 annotations"},
		"bytes":                  {&Properties{Annotations: many(32, 257)}, "8224 bytes, expected at most 8192"},
		"a word":                 {&Properties{TrafficDistribution: "PreferSameZone"}, ""},
		"two words":              {&Properties{TrafficDistribution: "Prefer same zone"}, "traffic distribution"},
		"a label without value":  {label("team", ""), ""},
		"a key with a domain":    {label("acme.example/Team_1.x", "A-b"), ""},
		"no key":                 {label("", "v"), "it is no key"},
		"a key of two slashes":   {label("a/b/c", "v"), "it is no key"},
		"a key without domain":   {label("/b", "v"), "it is no key"},
		"a key without name":     {label("acme.example/", "v"), "it is no key"},
		"a domain in capitals":   {note("Kubernetes.IO/x", "v"), "it is no key"},
		"a long name":            {note(strings.Repeat("n", 64), "v"), "it is no key"},
		"a long domain":          {note(strings.Repeat("d.", 126)+"dd/n", "v"), "it is no key"},
		"a label of a sentence":  {label("team", "the checkout team"), "none that a label can have"},
		"a long label":           {label("team", strings.Repeat("v", 64)), "none that a label can have"},
		"an annotation's lines":  {note("team", "{\n\t\"é\": \"<b>\"\n}"), ""},
		"a long annotation":      {note("team", strings.Repeat("v", 2049)), "2049 bytes, expected at most 2048"},
		"an escape sequence":     {note("team", "\x1b[2J"), "control characters"},
		"a text that is not one": {note("team", "\xff"), "control characters"},
		"a text from the right":  {note("team", "a\u202eb"), "control characters"},
	} {
		err := c.p.Validate()
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: expected %q, found %v", name, c.says, err)
		}
	}
}

func TestPropertiesThatSayNothingAreAsNone(t *testing.T) {
	var none *Properties
	empty, said := &Properties{Labels: map[string]string{}}, &Properties{NodeLocal: true}
	if !none.Empty() || !empty.Empty() || said.Empty() || !none.Equal(empty) || !empty.Equal(none) || none.Equal(said) || said.Equal(empty) || none.Bytes() != 0 {
		t.Error("expected nil and empty to be alike")
	}
	if !said.Equal(&Properties{NodeLocal: true, Annotations: map[string]string{}}) || said.Equal(&Properties{NodeLocal: true, Annotations: map[string]string{"a": "b"}}) {
		t.Error("expected them to be compared by value")
	}
}

func TestTheOldestExportDecidesWhatIsSaidOfAServiceBesides(t *testing.T) {
	old, young := set("w1", "a"), set("w2", "b")
	young.CreatedAt = t0.Add(time.Hour)
	old.Properties = &Properties{
		Labels:      map[string]string{"team": "checkout", "kubernetes.io/service-name": "web", "federator.dev/import": "web"},
		Annotations: map[string]string{"acme.example/tier": "1", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
		NodeLocal:   true,
	}
	young.Properties = &Properties{Labels: map[string]string{"team": "pay"}, TrafficDistribution: "PreferClose"}
	c := New("east", "east")
	_ = west(c, 1, Record{Set: young}, Record{Set: old})
	s := c.Service(checkout)
	want := &Properties{Labels: map[string]string{"team": "checkout"}, Annotations: map[string]string{"acme.example/tier": "1"}, NodeLocal: true}
	if diff := cmp.Diff(want, s.Properties); diff != "" {
		t.Errorf("expected those of the older export without reserved keys: %s", diff)
	}
	if len(old.Properties.Labels) != 3 || !maps.Equal(young.Properties.Labels, map[string]string{"team": "pay"}) {
		t.Error("a published set was changed")
	}
	var reasons []ConflictReason
	for _, one := range s.Conflicts {
		if one.Cluster != young.Cluster || !strings.Contains(one.Message, "w1") || strings.Contains(one.Message, "checkout,") {
			t.Errorf("found %+v", one)
		}
		reasons = append(reasons, one.Reason)
	}
	if diff := cmp.Diff([]ConflictReason{LabelsConflict, AnnotationsConflict, InternalTrafficPolicyConflict, TrafficDistributionConflict}, reasons); diff != "" {
		t.Error(diff)
	}
}

func TestNobodyDisagreesAboutTrafficToAHeadlessService(t *testing.T) {
	old, young := set("w1", "a"), set("w2", "b")
	old.Headless = true
	young.Properties = &Properties{NodeLocal: true, TrafficDistribution: "PreferClose", Labels: map[string]string{"a": "b"}}
	if diff := cmp.Diff([]ConflictReason{LabelsConflict}, Disagreements(young, old)); diff != "" {
		t.Error(diff)
	}
}

func TestTheTwoNamesOfATrafficDistributionAreNoConflict(t *testing.T) {
	for _, tt := range []struct {
		old, young string
		conflict   bool
	}{
		{"PreferClose", "PreferSameZone", false},
		{"PreferSameZone", "PreferClose", false},
		{"PreferClose", "PreferSameNode", true},
		{"", "PreferClose", true},
	} {
		old, young := set("w1", "a"), set("w2", "b")
		old.Properties, young.Properties = &Properties{TrafficDistribution: tt.old}, &Properties{TrafficDistribution: tt.young}
		if got := len(Disagreements(young, old)) > 0; got != tt.conflict {
			t.Errorf("%q and %q: a conflict is %v, expected %v", tt.old, tt.young, got, tt.conflict)
		}
	}
}
