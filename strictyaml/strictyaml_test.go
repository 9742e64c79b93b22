package strictyaml

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/federator/federator/federation/catalog"
)

// recipe has every type of value that a spec can have.
type recipe struct {
	Title   string              `json:"title"`
	Vegan   bool                `json:"vegan"`
	Serves  *uint32             `json:"serves"`
	Degrees float64             `json:"degrees"`
	Bake    catalog.Duration    `json:"bake"`
	For     catalog.ServiceName `json:"for"`
	Steps   []step              `json:"steps"`
	Grams   map[string]uint32   `json:"grams"`
}

type step struct {
	Text string `json:"text"`
}

// pathError is an error about a field.
type pathError struct{ path []string }

func (e pathError) Error() string       { return strings.Join(e.path, ".") + ": wrong" }
func (e pathError) FieldPath() []string { return e.path }

func parse(data string, wrong ...error) ([]Named[recipe], error) {
	return Documents([]byte(data), Form[recipe]{
		Kind: "Recipe", One: "recipe", Many: "recipes", Required: []string{"title"},
		Validate: func(string, recipe) []error { return wrong },
	})
}

func TestEveryTypeOfValueIsRead(t *testing.T) {
	got, err := parse(`kind: Recipe
name: cake
spec:
  title: 2026-01-02
  vegan: true
  serves: 8
  degrees: 180.5
  bake: 1m30s
  for: shop/kitchen
  steps: [{text: mix}, {text: bake}]
  grams: {flour: 500, sugar: 0}
`)
	if err != nil {
		t.Fatal(err)
	}
	serves := uint32(8)
	want := []Named[recipe]{{Name: "cake", Line: 1, Spec: recipe{
		Title: "2026-01-02", Vegan: true, Serves: &serves, Degrees: 180.5, Bake: catalog.Duration(90 * time.Second),
		For: catalog.ServiceName{Namespace: "shop", Name: "kitchen"}, Steps: []step{{"mix"}, {"bake"}}, Grams: map[string]uint32{"flour": 500, "sugar": 0},
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestEachMistakeSaysWhereWhatWasExpectedAndWhatWasFound(t *testing.T) {
	const head = "kind: Recipe\nname: cake\nspec:\n  title: a\n"
	for _, tt := range []struct{ spec, want string }{
		{"  vegan: maybe", `line 5: spec.vegan: expected true or false, found "maybe"`},
		{"  vegan: !!bool yes", `line 5: spec.vegan: expected true or false, found "yes"`},
		{"  serves: -1", `line 5: spec.serves: expected a whole number, 0 or more, found "-1"`},
		{"  degrees: .nan", `line 5: spec.degrees: expected a number, found ".nan"`},
		{"  bake: 10", `line 5: spec.bake: expected a duration such as 10s or 1m30s, found "10"`},
		{"  for: kitchen", `line 5: spec.for: expected NAMESPACE/NAME of a service, found "kitchen"`},
		{"  steps: {text: a}", `line 5: spec.steps: expected a list, found key: value pairs`},
		{"  steps: [a]", `line 5: spec.steps[0]: expected fields, found "a"`},
		{"  steps: [{text: }]", `line 5: spec.steps[0].text: expected text, found nothing`},
		{"  grams: []", `line 5: spec.grams: expected key: value pairs, found a list`},
		{"  grams: {[a]: 1}", `line 5: spec.grams: expected a name as key, found a list`},
		{"  grams: {a: 1, a: 2}", `line 5: spec.grams.a: expected each key once, found it again`},
		{"  steps: &x []\n  grams: *x", `line 6: spec.grams: expected key: value pairs, found an alias (write the value out)`},
		{"  steps: [{text: " + strings.Repeat("a", MaxText+1) + "}]", `line 5: spec.steps[0].text: expected at most 1024 bytes, found 1025`},
		{"  \"\\e\": 1", `line 5: spec."\x1b": unknown field; expected one of bake, degrees, for, grams, serves, steps, title, vegan`},
	} {
		if _, err := parse(head + tt.spec); err == nil || err.Error() != tt.want {
			t.Errorf("%s:\nexpected %s\nfound    %v", tt.spec, tt.want, err)
		}
	}
	if _, err := parse("kind: Recipe\nname: cake\nspec: {vegan: true}"); err == nil || err.Error() != "line 3: spec.title: expected a value, found none" {
		t.Errorf("expected the missing title to be named, found %v", err)
	}
}

func TestWhatIsInvalidIsToldWhereItStandsUnlessThatCouldNotBeRead(t *testing.T) {
	const doc = "kind: Recipe\nname: cake\nspec:\n  title: a\n  grams:\n    flour: 1\n  steps:\n    - text: a\n    - text: b\n"
	for _, tt := range []struct {
		file string
		err  error
		want string
	}{
		{doc, pathError{[]string{"steps", "1", "text"}}, `line 9: recipe "cake": steps.1.text: wrong`},
		{doc, pathError{[]string{"grams", "flour"}}, `line 6: recipe "cake": grams.flour: wrong`},
		{doc, pathError{[]string{"grams", "salt"}}, `line 6: recipe "cake": grams.salt: wrong`}, // where the mapping begins
		{doc, pathError{[]string{"name"}}, `line 2: recipe "cake": name: wrong`},
		{doc, errors.New("bad"), `line 1: recipe "cake": bad`},
		{strings.Replace(doc, "flour: 1", "flour: x", 1), pathError{[]string{"grams", "flour"}}, `line 6: spec.grams.flour: expected a whole number, 0 or more, found "x"`},
		{strings.Replace(doc, "flour: 1", "flour: x", 1), errors.New("bad"), `line 6: spec.grams.flour: expected a whole number, 0 or more, found "x"`},
	} {
		if _, err := parse(tt.file, tt.err); err == nil || err.Error() != tt.want {
			t.Errorf("expected %s, found %v", tt.want, err)
		}
	}
}

func TestAReaderKeepsSoManyMistakesAndReadsFieldsInTheirOrder(t *testing.T) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte("b: 1\na: [1, 2, 3]\nc: 1\nd: 1\n"), &doc); err != nil {
		t.Fatal(err)
	}
	r := NewReader(2)
	var order []string
	note := func(_ *yaml.Node, at string) { order = append(order, at) }
	r.Fields(doc.Content[0], "", []Field{
		Optional("a", func(n *yaml.Node, at string) { r.List(n, at, 2, note) }), Optional("b", note), Required("e", note), Optional("c", note),
	})
	if got := fmt.Sprint(order); got != "[b c]" {
		t.Errorf("expected the fields in order, found %s", got)
	}
	want := []Mistake{{2, 4, "a: expected at most 2 entries, found 3"}, {4, 1, "d: unknown field; expected one of a, b, c, e"}}
	if diff := cmp.Diff(want, r.Mistakes()); diff != "" || r.OK() {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAFileOfDocumentsIsBounded(t *testing.T) {
	for name, tt := range map[string]struct{ file, want string }{
		"bytes":     {strings.Repeat("#", MaxBytes+1), "recipes: expected at most 1048576 bytes, found 1048577: split the file"},
		"documents": {strings.Repeat("---\n", MaxDocuments+1) + "a", "expected at most 1000 documents: split the file"},
		"mistakes":  {"kind: Recipe\nname: a\nspec: {title: a, grams: {" + strings.Repeat("[]: 1, ", MaxErrors+7) + "}}", "and 7 more mistakes"},
	} {
		if _, err := parse(tt.file); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: expected %s, found %v", name, tt.want, err)
		}
	}
}
