// Package strictyaml reads YAML files that people write, strictly: unknown and
// repeated keys are mistakes, every mistake is reported with its line, all at
// once, and nothing is taken from a file that has any.
//
// A [Reader] turns nodes into values and collects what is wrong with them. Each of
// its methods is told where a node is, as a path such as "spec.at[0]" or in a word
// such as "port"; mistakes begin with it. They say what was expected and what was
// found. Aliases are never followed, so that a small file cannot grow large.
//
// [Documents] reads whole files of documents with a kind, a name and a spec. The
// package does no I/O.
package strictyaml
