package docs_test

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/federator/federator/federation"
	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/catalog/rulefile"
	"github.com/federator/federator/federation/drill/schedulefile"
	"github.com/federator/federator/kube/api/v1alpha1"
	"github.com/federator/federator/locality/policyfile"
	"github.com/federator/federator/source/file"
)

// page returns a page of the manual.
func page(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// same fails where one list has what the other has not.
func same(t *testing.T, what, where string, program, written []string) {
	t.Helper()
	for _, name := range program {
		if !slices.Contains(written, name) {
			t.Errorf("%s %s: the program has it, %s does not", what, name, where)
		}
	}
	for _, name := range written {
		if !slices.Contains(program, name) {
			t.Errorf("%s %s: %s has it, the program does not", what, name, where)
		}
	}
}

// firstCells returns what the first cells of a page's table rows quote, where it
// has the form of a name.
func firstCells(text string, form *regexp.Regexp) []string {
	var out []string
	for line := range strings.Lines(text) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 || strings.TrimSpace(cells[0]) != "" {
			continue
		}
		for _, quoted := range quotes.FindAllStringSubmatch(cells[1], -1) {
			if form.MatchString(quoted[1]) && !slices.Contains(out, quoted[1]) {
				out = append(out, quoted[1])
			}
		}
	}
	return out
}

var quotes = regexp.MustCompile("`([^`]+)`")

// section returns what stands under a heading of the second level.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("no heading %q", heading)
	}
	under, _, _ := strings.Cut(rest, "\n## ")
	return under
}

// fields returns the JSON names of a struct's fields, those of nested structs of
// the same package as "outer.inner".
func fields(of reflect.Type, prefix string) []string {
	var out []string
	for i := range of.NumField() {
		f := of.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner.PkgPath() == of.PkgPath() {
			out = append(out, fields(inner, prefix+name+".")...)
			continue
		}
		out = append(out, prefix+name)
	}
	return out
}

func TestEveryConfigFieldIsDocumented(t *testing.T) {
	written := firstCells(section(t, page(t, "configuration.md"), "Fields"), regexp.MustCompile(`^[a-zA-Z.]+$`))
	same(t, "config field", "configuration.md", fields(reflect.TypeFor[federation.Config](), ""), written)
}

func TestEveryPolicyFieldIsDocumented(t *testing.T) {
	written := firstCells(section(t, page(t, "policies.md"), "Fields"), regexp.MustCompile(`^[a-zA-Z.]+$`))
	same(t, "policy field", "policies.md", fields(reflect.TypeFor[catalog.Policy](), ""), written)
}

func TestEveryFieldOfAnExportRuleIsDocumented(t *testing.T) {
	written := firstCells(section(t, page(t, "export-rules.md"), "Fields"), regexp.MustCompile(`^[a-zA-Z]+$`))
	same(t, "field", "export-rules.md", fields(reflect.TypeFor[catalog.ExportRule](), ""), written)
}

// The codes of check stand in the sources of package operator.
func TestEveryProblemThatCheckFindsIsDocumented(t *testing.T) {
	written := firstCells(section(t, page(t, "operations.md"), "What check says"), regexp.MustCompile(`^[a-z-]+$`))
	written = slices.DeleteFunc(written, built)
	same(t, "problem", "operations.md", problems(packages(t)["../federation/operator"]), written)
}

// problems returns the codes that are given to problems.
func problems(files []*ast.File) []string {
	var codes []string
	note := func(e ast.Expr) {
		if s := text(e); s != "" && !slices.Contains(codes, s) {
			codes = append(codes, s)
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "code" {
					note(n.Value)
				}
			case *ast.CompositeLit: // problem{severity, code, ...}
				if len(n.Elts) > 2 && severities[nameOf(n.Elts[0])] {
					note(n.Elts[1])
				}
			case *ast.AssignStmt:
				for i, to := range n.Lhs {
					if field, ok := to.(*ast.SelectorExpr); ok && field.Sel.Name == "code" && i < len(n.Rhs) {
						note(n.Rhs[i])
					}
				}
			}
			return true
		})
	}
	return codes
}

var severities = map[string]bool{"severe": true, "warning": true, "info": true}

func nameOf(e ast.Expr) string {
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// built reports whether a code is put together from the name of a state or of a
// certificate, so that it stands nowhere as it is.
func built(code string) bool {
	state, ok := strings.CutPrefix(code, "region-")
	for r := catalog.Reachable; r <= catalog.Out; r++ {
		if ok && r.String() == state {
			return true
		}
	}
	return code == "intermediate-expiring" || code == "root-expiring"
}

// blocks returns the code blocks of a language on a page.
func blocks(text, language string) []string {
	var out []string
	for _, m := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?)```").FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

func TestEveryExampleIsValid(t *testing.T) {
	for _, path := range []string{"services-file.md", "getting-started.md"} {
		for _, example := range blocks(page(t, path), "yaml") {
			if _, err := file.Parse([]byte(example), "west-1"); err != nil {
				t.Errorf("%s: %v\n%s", path, err, example)
			}
		}
	}
	for _, example := range blocks(page(t, "policies.md"), "yaml") {
		if of, err := ofKubernetes(example); of {
			if err != nil {
				t.Errorf("policies.md: %v\n%s", err, example)
			}
			continue
		}
		if _, err := policyfile.ParsePolicies([]byte(example)); err != nil {
			t.Errorf("policies.md: %v\n%s", err, example)
		}
	}
	for _, example := range blocks(page(t, "export-rules.md"), "yaml") {
		if _, err := rulefile.Parse([]byte(example)); err != nil {
			t.Errorf("export-rules.md: %v\n%s", err, example)
		}
	}
	for _, example := range blocks(page(t, "drills.md"), "yaml") {
		of, err := ofKubernetes(example)
		if of {
		} else if strings.Contains(example, "kind: Policy") {
			_, err = policyfile.ParsePolicies([]byte(example))
		} else {
			_, err = schedulefile.Parse([]byte(example))
		}
		if err != nil {
			t.Errorf("drills.md: %v\n%s", err, example)
		}
	}
	for _, example := range blocks(page(t, "configuration.md"), "yaml") {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(example), 0o600); err != nil {
			t.Fatal(err)
		}
		config, err := federation.LoadConfig(path)
		if err == nil {
			err = config.WithDefaults().Validate()
		}
		if err != nil {
			t.Errorf("configuration.md: %v\n%s", err, example)
		}
	}
}

// ofKubernetes reports whether an example is an object of Kubernetes, and whether it
// has only fields that there are. What the API server says of the values, test/kube
// finds out.
func ofKubernetes(example string) (of bool, err error) {
	var meta metav1.TypeMeta
	if yaml.Unmarshal([]byte(example), &meta) != nil || meta.APIVersion == "" {
		return false, nil
	}
	kinds := map[string]any{
		v1alpha1.KindResolutionPolicy: &v1alpha1.ResolutionPolicy{}, v1alpha1.KindDrill: &v1alpha1.Drill{}, "ClusterRole": &rbacv1.ClusterRole{},
	}
	if kinds[meta.Kind] == nil {
		return true, fmt.Errorf("kind %s is not known here", meta.Kind)
	}
	return true, yaml.UnmarshalStrict([]byte(example), kinds[meta.Kind])
}

// pages returns every page: the manual and those at the root.
func pages(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("*.md")
	if err != nil || len(all) == 0 {
		t.Fatal("no pages", err)
	}
	return append(all, "../README.md", "../ARCHITECTURE.md", "../CHANGELOG.md")
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	unsaid  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	for _, from := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(page(t, from), -1) {
			path, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			to := from
			if path != "" {
				to = filepath.Join(filepath.Dir(from), path)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: link to %s: %v", from, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors(page(t, to)), anchor) {
				t.Errorf("%s: link to %s: no such heading", from, m[1])
			}
		}
	}
}

// anchors returns how the headings of a page are linked to.
func anchors(text string) []string {
	var out []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		out = append(out, strings.ReplaceAll(unsaid.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return out
}
