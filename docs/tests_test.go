package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testFunction = regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(t \*testing\.T\)`)
	namedTest    = regexp.MustCompile(`\bTest[A-Z]\w*`)
)

// tests returns the test functions below a folder of the repository.
func tests(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && len(d.Name()) > 2 && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunction.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
		return err
	})
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: expected tests, found %d, %v", dir, len(names), err)
	}
	return names
}

// What a page says to run, go test -run takes as the beginning of a name.
func TestEveryTestThatAPageNamesExists(t *testing.T) {
	all := append(tests(t, ".."), "TestMain")
	for _, from := range pages(t) {
		for _, name := range namedTest.FindAllString(page(t, from), -1) {
			if !slices.ContainsFunc(all, func(f string) bool { return strings.HasPrefix(f, name) }) {
				t.Errorf("%s: names %s, which is the beginning of no test's name", from, name)
			}
		}
	}
}

func TestTheRulesOfKEP1645AreThoseThatAreTested(t *testing.T) {
	const function = "TestKEP1645"
	var between, one []string
	for line := range strings.Lines(section(t, page(t, "kubernetes.md"), "The rules of KEP-1645")) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || strings.Contains(cells[3], function) { // no row, or the first
			continue
		}
		for _, quoted := range quotes.FindAllStringSubmatch(cells[2], -1) {
			name := quoted[1]
			if !strings.HasPrefix(name, function) {
				name = function + "/rules/" + name
			}
			between = append(between, name)
		}
		for _, quoted := range quotes.FindAllStringSubmatch(cells[3], -1) {
			one = append(one, function+quoted[1])
		}
	}
	same(t, "rule between clusters", "kubernetes.md", subtests(t, "../test/kube/kep_test.go", function), unique(between))
	same(t, "rule of one cluster", "kubernetes.md", slices.DeleteFunc(tests(t, "../kube/imports"), func(f string) bool { return !strings.HasPrefix(f, function) }), unique(one))
}

// unique returns the names once each, in order.
func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// subtests returns the subtests of a test function: those that it runs by a literal
// name, and below one of them those that it runs by the names of a table.
func subtests(t *testing.T, path, function string) (names []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var within func(n ast.Node, under string)
	within = func(n ast.Node, under string) {
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit: // a row begins with its name
				if len(n.Elts) > 0 && text(n.Elts[0]) != "" {
					names = append(names, under+"/"+text(n.Elts[0]))
				}
			case *ast.CallExpr:
				if called(n) != "Run" || len(n.Args) != 2 || text(n.Args[0]) == "" {
					return true
				}
				before, below := len(names), under+"/"+text(n.Args[0])
				if within(n.Args[1], below); len(names) == before {
					names = append(names, below)
				}
				return false
			}
			return true
		})
	}
	for _, d := range file.Decls {
		if f, is := d.(*ast.FuncDecl); is && f.Name.Name == function {
			within(f.Body, function)
		}
	}
	if len(names) == 0 {
		t.Fatalf("%s: expected subtests of %s, found none", path, function)
	}
	return names
}
