package operator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

const (
	// maxSuggested is how many names a suggestion holds.
	maxSuggested = 5
	// maxCompared bounds the length of names that are compared letter by letter.
	maxCompared = 130
)

// suggestion says what an operator may have meant.
func suggestion(kind, name string, known []string) string {
	if len(known) == 0 {
		return "there is none of any name"
	}
	if near := nearest(name, known); len(near) > 0 {
		return "did you mean " + strings.Join(near, ", ") + "?"
	}
	known = slices.Sorted(slices.Values(known))
	rest := len(known) - maxSuggested
	if rest <= 0 {
		return fmt.Sprintf("known: %s", strings.Join(known, ", "))
	}
	return fmt.Sprintf("known: %s and %d more", strings.Join(known[:maxSuggested], ", "), rest)
}

// nearest returns the known names that differ from name by a third of its letters
// at most, or hold it as a part, the nearest first.
func nearest(name string, known []string) []string {
	type near struct {
		name string
		far  int
	}
	var found []near
	for _, k := range known {
		far := distance(name, k)
		if part := name != "" && strings.Contains(k, name); part || far <= max(1, len(name)/3) {
			found = append(found, near{k, far})
		}
	}
	slices.SortFunc(found, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.far, b.far), strings.Compare(a.name, b.name))
	})
	var out []string
	for _, n := range found[:min(len(found), maxSuggested)] {
		out = append(out, n.name)
	}
	return out
}

// distance is Levenshtein's: how many letters to insert, drop or change.
func distance(a, b string) int {
	if len(a) > maxCompared || len(b) > maxCompared {
		return maxCompared
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
