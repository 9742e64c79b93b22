package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/federator/federator/test/e2e/fleet"
)

// root is the module's folder, as seen from this package.
const root = "../.."

// builds are the paths of the three programs.
type builds struct {
	old, current, next string
	// protocol is what the old build understands, nextProtocol the next.
	protocol, nextProtocol int
}

// build makes all of them. An interrupt meanwhile ends it in the ordinary way, so
// that the worktree is removed then too.
func build(t *testing.T) builds {
	t.Helper()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir := t.TempDir()
	b := builds{old: filepath.Join(dir, "old"), next: filepath.Join(dir, "next")}
	b.protocol = buildOld(ctx, t, dir, b.old)
	var err error
	if b.current, err = fleet.Binary(root, dir); err != nil {
		t.Fatal(err)
	}
	b.nextProtocol = buildNext(ctx, t, dir, b.next, b.protocol)
	return b
}

// buildOld builds the commit of the first format and returns its protocol.
func buildOld(ctx context.Context, t *testing.T, dir, binary string) int {
	t.Helper()
	commit := firstFormat(t)
	if out, err := command(ctx, root, "git", "cat-file", "-e", commit+"^{commit}"); err != nil {
		t.Fatalf("commit %s, of testdata/first-format, is not in this clone: run git fetch --unshallow\n%s", commit, out)
	}
	tree := filepath.Join(dir, "worktree")
	run(ctx, t, root, "git", "worktree", "prune") // of a run that was killed
	defer func() {
		// With a context of its own: this has to happen after an interrupt too.
		if out, err := command(context.Background(), root, "git", "worktree", "remove", "--force", tree); err != nil {
			t.Errorf("remove the worktree: %v\n%s", err, out)
		}
	}()
	run(ctx, t, root, "git", "worktree", "add", "--detach", tree, commit)
	// The worktree is elsewhere each time: without its path, what was compiled is used again.
	run(ctx, t, tree, "go", "build", "-trimpath", "-o", binary, "./cmd/federator")
	return protocolOf(t, tree)
}

// firstFormat reads the commit; lines that begin with # are for people.
func firstFormat(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("testdata/first-format")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line
		}
	}
	t.Fatal("testdata/first-format names no commit")
	return ""
}

func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func run(ctx context.Context, t *testing.T, dir, name string, args ...string) {
	t.Helper()
	if out, err := command(ctx, dir, name, args...); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

var protocolLine = regexp.MustCompile(`(?m)^\tProtocol\s+= (\d+)$`)

// protocolOf reads the newest protocol that a tree understands.
func protocolOf(t *testing.T, tree string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(tree, envelopeFile))
	if err != nil {
		t.Fatal(err)
	}
	m := protocolLine.FindSubmatch(b)
	if m == nil {
		t.Fatalf("%s: expected a line such as Protocol = 1", filepath.Join(tree, envelopeFile))
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const (
	envelopeFile = "federation/state/envelope.go"
	registryFile = "federation/state/registry.go"
	objectsFile  = "federation/operator/objects.go"
)

// edit replaces one text of a source file; it has to be there exactly once.
type edit struct{ file, from, to string }

// edits make the next release out of the current tree: creating a token needs the
// newest protocol, and a policy named KIND/NAME becomes an object of that kind, if
// it is one that the old build does not know.
func edits(from, to int) []edit {
	all := []edit{
		{registryFile, "func versionOf(", `func versionOf(cmd Command) int {
	if cmd.kind() == TypeCreateToken {
		return Protocol
	}
	return versionBefore(cmd)
}

func versionBefore(`},
		{objectsFile, "	cmd := &state.PutObject{", fmt.Sprintf(`	if kind, name, ok := strings.Cut(key.Name, "/"); ok && slices.Contains(%#v, kind) {
		key = catalog.ObjectKey{Kind: catalog.ObjectKind(kind), Name: name}
	}
	cmd := &state.PutObject{`, newKinds())},
	}
	if from != to {
		all = append(all, edit{envelopeFile, fmt.Sprintf("	Protocol    = %d\n", from), fmt.Sprintf("	Protocol    = %d\n", to)})
	}
	return all
}

// newKinds are kinds of object that the old build does not know.
func newKinds() []string { return []string{"ballot", "drill", "gate", "schedule"} }

// buildNext builds the current tree with the edits and returns its protocol: that
// of the tree if it is above the old one's, else the one after.
func buildNext(ctx context.Context, t *testing.T, dir, binary string, old int) int {
	t.Helper()
	here := protocolOf(t, root)
	protocol := max(here, old+1)
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for i, e := range edits(here, protocol) {
		path, err := filepath.Abs(filepath.Join(root, e.file))
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), e.from); n != 1 {
			t.Fatalf("%s: expected the text %q once, to make the next release of it, found it %d times: adapt edits in this file", e.file, e.from, n)
		}
		edited := filepath.Join(dir, fmt.Sprintf("edited%d.go", i))
		if err := os.WriteFile(edited, []byte(strings.Replace(string(source), e.from, e.to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[path] = edited
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	run(ctx, t, root, "go", "build", "-overlay", file, "-o", binary, "./cmd/federator")
	return protocol
}
