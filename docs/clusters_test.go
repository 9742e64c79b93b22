package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The codes of what is found in clusters stand in the sources of kube/link.
func TestEveryProblemOfAClusterIsDocumented(t *testing.T) {
	files, err := filepath.Glob("../kube/link/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no sources", err)
	}
	noted := regexp.MustCompile(`\.note\([a-z]+, "([a-z-]+)"`)
	var codes []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range noted.FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains(codes, m[1]) {
				codes = append(codes, m[1])
			}
		}
	}
	_, rest, _ := strings.Cut(page(t, "kubernetes.md"), "\n### What is checked in a cluster\n")
	table, _, _ := strings.Cut(rest, "\n### ")
	same(t, "problem of a cluster", "kubernetes.md", codes, firstCells(table, regexp.MustCompile(`^[a-z-]+$`)))
}
