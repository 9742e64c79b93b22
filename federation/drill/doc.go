// Package drill says what a drill would do before it begins, whether its rules
// hold while it runs, and what happened afterwards.
//
// [MakePlan] and [Check] are pure functions of a [World] and a drill: the same
// rules hold the start up, end a drill that meets a real failure, and are printed
// for people. Where traffic would go is what package locality says of it, so a
// plan cannot differ from the answers.
//
// [MakeReport] turns a [Story] (a drill, what the regions said of it, and what
// their replicas answered meanwhile) into a [Report], which is written as text, as
// JSON and as one HTML page that needs nothing else.
//
// The package does no I/O and has no clock.
package drill
