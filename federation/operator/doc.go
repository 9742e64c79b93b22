// Package operator answers the command line: it is the server of the Operator
// service of one replica.
//
// Questions (status, check, members, resolve and so on) are answered in two
// steps. A view gathers, at one moment, everything this replica knows: what its
// region agreed on, the merged catalog, the links to the other regions, what
// gossip measures, its own certificate. Pure functions then turn the view into
// the answer, so that every sentence an operator reads can be tested as a table.
//
// Changes become commands of the region's Raft, whichever replica took them, and
// name who made them, from where and through which replica. Errors carry the code
// of the state's refusal in capitals as their reason, and say in words what was
// expected, what was found and what to do next.
package operator
