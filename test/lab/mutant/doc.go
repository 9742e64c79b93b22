// Package mutant builds federators that are broken on purpose, so that every
// checker of the failure lab is known to be able to fail.
//
// A [Mutant] is one textual edit of one source file. [Build] applies it through
// the overlay of the go command, so that the tree itself is never touched. An
// edit whose old text is not in its file exactly once is an error: the source
// has moved on, and the mutant has to follow.
package mutant
