package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var metricName = regexp.MustCompile(`^federator_[a-z0-9_]*[a-z0-9]$`)

func TestEveryMetricIsDocumented(t *testing.T) {
	written := firstCells(page(t, "metrics.md"), metricName)
	same(t, "metric", "metrics.md", registered(t), written)
	for _, named := range regexp.MustCompile(`federator_[a-z0-9_]*[a-z0-9]`).FindAllString(page(t, "metrics.md"), -1) {
		if !slices.Contains(written, named) {
			t.Errorf("metrics.md speaks of %s and has no row for it", named)
		}
	}
}

// registered returns the names of all metrics in the sources: whole names that
// stand there as they are, and those that a function puts together from a prefix
// and its first argument.
func registered(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, files := range packages(t) {
		prefixes := prefixing(files)
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					if s := text(n); metricName.MatchString(s) {
						names = append(names, s)
					}
				case *ast.CallExpr:
					if prefix, ok := prefixes[called(n)]; ok && len(n.Args) > 0 && text(n.Args[0]) != "" {
						names = append(names, prefix+text(n.Args[0]))
					}
				}
				return true
			})
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// packages parses the sources of the repository that are not tests, by folder.
func packages(t *testing.T) map[string][]*ast.File {
	t.Helper()
	out := map[string][]*ast.File{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && len(d.Name()) > 2 && strings.HasPrefix(d.Name(), "."), d.IsDir() && d.Name() == "pb":
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		out[filepath.Dir(path)] = append(out[filepath.Dir(path)], f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// prefixing returns the functions that put "federator_ROOM_" before their first
// parameter, themselves or by calling one that does.
func prefixing(files []*ast.File) map[string]string {
	known := map[string]string{}
	for {
		before := len(known)
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				name, kind, body := function(n)
				if body == nil || len(kind.Params.List) == 0 || len(kind.Params.List[0].Names) == 0 {
					return true
				}
				if prefix := prefixOf(body, kind.Params.List[0].Names[0].Name, known); prefix != "" {
					known[name] = prefix
				}
				return true
			})
		}
		if len(known) == before {
			return known
		}
	}
}

// function takes a declared function, or one that is assigned to a variable, apart.
func function(n ast.Node) (string, *ast.FuncType, *ast.BlockStmt) {
	switch n := n.(type) {
	case *ast.FuncDecl:
		return n.Name.Name, n.Type, n.Body
	case *ast.AssignStmt:
		if len(n.Lhs) != 1 || len(n.Rhs) != 1 {
			break
		}
		name, named := n.Lhs[0].(*ast.Ident)
		f, isFunc := n.Rhs[0].(*ast.FuncLit)
		if named && isFunc {
			return name.Name, f.Type, f.Body
		}
	}
	return "", nil, nil
}

// prefixOf returns what body puts before the parameter, "" if nothing.
func prefixOf(body *ast.BlockStmt, parameter string, known map[string]string) (prefix string) {
	is := func(e ast.Expr) bool {
		id, ok := e.(*ast.Ident)
		return ok && id.Name == parameter
	}
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if s := text(n.X); is(n.Y) && strings.HasPrefix(s, "federator_") {
				prefix = s
			}
		case *ast.CallExpr:
			if p, ok := known[called(n)]; ok && len(n.Args) > 0 && is(n.Args[0]) {
				prefix = p
			}
			if called(n) == "BuildFQName" && len(n.Args) == 3 {
				if last, ok := n.Args[2].(*ast.BinaryExpr); ok && is(last.Y) {
					prefix = text(n.Args[0]) + "_" + text(n.Args[1]) + "_" + text(last.X)
				}
			}
		}
		return true
	})
	return prefix
}

// called is the name of the function that is called.
func called(n *ast.CallExpr) string {
	switch f := n.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// text is the value of a string literal, "" of anything else.
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}
