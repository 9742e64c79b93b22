package fleet

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// BinaryVariable names the environment variable that holds the path of a
// federator to test instead of one built from the sources.
const BinaryVariable = "FEDERATOR_BINARY"

// Binary returns the path of the federator to test: a prebuilt one, or one that
// it builds from the sources of the module at root into dir.
func Binary(root, dir string) (string, error) {
	if prebuilt := os.Getenv(BinaryVariable); prebuilt != "" {
		return filepath.Abs(prebuilt)
	}
	if err := look(root); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "federator")
	cmd := exec.Command("go", "build", "-o", binary, "./cmd/federator")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
}

// look lists the source directories. The go command remembers what a test looked
// at, and so does not answer with a cached result after the sources changed.
func look(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		return err
	})
}
