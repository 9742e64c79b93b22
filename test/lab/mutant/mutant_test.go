package mutant_test

import (
	"errors"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/federator/federator/test/lab/mutant"
)

// root is the module's.
const root = "../../.."

func TestEveryMutantFitsTheSourceThatItEditsAndIsStillGo(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range mutant.All() {
		if m.Name == "" || m.Why == "" || seen[m.Name] {
			t.Errorf("mutant %q: expected a name of its own, and why it is one", m.Name)
		}
		seen[m.Name] = true
		source, err := os.ReadFile(filepath.Join(root, m.File))
		if err != nil {
			t.Error(err)
			continue
		}
		edited, err := m.Edit(string(source))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.File, edited, 0); err != nil {
			t.Errorf("mutant %s: %v", m.Name, err)
		}
	}
}

func TestAnEditWhoseOldTextIsNotThereExactlyOnceIsAnErrorThatSaysWhatToDo(t *testing.T) {
	m := mutant.Mutant{Name: "m", File: "a.go", Old: "x", New: "y"}
	for _, tt := range []struct {
		source, want string
		moved        bool
	}{
		{source: "a x b", want: "a y b"},
		{source: "a b", moved: true},
		{source: "x x", moved: true},
	} {
		found, err := m.Edit(tt.source)
		if found != tt.want || errors.Is(err, mutant.ErrMoved) != tt.moved {
			t.Errorf("%q: expected %q, moved %t; found %q, %v", tt.source, tt.want, tt.moved, found, err)
		}
		if tt.moved && !strings.Contains(err.Error(), "update the mutant") {
			t.Errorf("%q: expected an error that says what to do, found %v", tt.source, err)
		}
	}
	for _, m := range []mutant.Mutant{{Name: "m", Old: "", New: "y"}, {Name: "m", Old: "x", New: "x"}} {
		if _, err := m.Edit("x"); err == nil {
			t.Errorf("%+v: expected an error, for it breaks nothing", m)
		}
	}
}
