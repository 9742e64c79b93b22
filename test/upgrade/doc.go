// Package upgrade tests that a region is upgraded, and rolled back, one replica
// at a time and under load: from the build that holds the first state format,
// which testdata/first-format names, to that of the current tree, and back.
//
// The old build is made of a git worktree that lasts as long as the build. A
// third build stands for the next release: the current tree, edited on the way
// into the compiler (go build -overlay) so that it has commands and kinds of
// object which the old one does not know.
//
// The tests run where FEDERATOR_LAB=1 is set.
package upgrade
