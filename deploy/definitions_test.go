package deploy

import (
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestTheDefinitionsAreThoseOfTheFolder(t *testing.T) {
	text, err := Definitions()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for part := range strings.SplitSeq(string(text), "\n---\n") {
		o := object{}
		if err := yaml.Unmarshal([]byte(part), &o); err != nil {
			t.Fatal(err)
		}
		if kindOf(o) != "CustomResourceDefinition" {
			t.Errorf("expected definitions only, found %s", kindOf(o))
		}
		names = append(names, nameOf(o))
	}
	for _, name := range []string{"serviceexports.multicluster.x-k8s.io", "serviceimports.multicluster.x-k8s.io"} {
		if !slices.Contains(names, name) {
			t.Errorf("expected %s, found %v", name, names)
		}
	}
}
