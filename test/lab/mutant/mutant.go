package mutant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Mutant is a deliberate mistake.
type Mutant struct {
	// Name is a word for file names and for people.
	Name string
	// File is the source file, relative to the root of the module, with slashes.
	File string
	// Old is in the file exactly once, and becomes New.
	Old, New string
	// Why says what the mistake is, and who must notice.
	Why string
}

// ErrMoved means that a mutant no longer fits the source it edits.
var ErrMoved = errors.New("the mutant does not fit its source file any more")

// Edit returns the source with the mistake in it, or [ErrMoved].
func (m Mutant) Edit(source string) (string, error) {
	if m.Old == "" || m.Old == m.New {
		return "", fmt.Errorf("mutant %s: expected an old text, and a new one that differs", m.Name)
	}
	if n := strings.Count(source, m.Old); n != 1 {
		return "", fmt.Errorf("mutant %s: %w: expected the text %q exactly once in %s, found it %d times; update the mutant in test/lab/mutant to what the file says now",
			m.Name, ErrMoved, m.Old, m.File, n)
	}
	return strings.Replace(source, m.Old, m.New, 1), nil
}

// overlay is the file that the go command reads; see go help build.
type overlay struct{ Replace map[string]string }

// Build builds federator from the module at root with the mistake in it, writes
// it and what the build needs into dir, and returns its path.
func Build(ctx context.Context, root, dir string, m Mutant) (string, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	file := filepath.Join(root, filepath.FromSlash(m.File))
	source, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("mutant %s: %w", m.Name, err)
	}
	edited, err := m.Edit(string(source))
	if err != nil {
		return "", err
	}
	stand := filepath.Join(dir, m.Name+".go")
	plan, err := json.Marshal(overlay{Replace: map[string]string{file: stand}})
	if err != nil {
		return "", err
	}
	planFile, binary := filepath.Join(dir, m.Name+".json"), filepath.Join(dir, "federator-"+m.Name)
	if err := errors.Join(os.WriteFile(stand, []byte(edited), 0o600), os.WriteFile(planFile, plan, 0o600)); err != nil {
		return "", fmt.Errorf("mutant %s: %w", m.Name, err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-overlay", planFile, "-o", binary, "./cmd/federator")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mutant %s: expected that the broken source still compiles: %w\n%s", m.Name, err, out)
	}
	return binary, nil
}
