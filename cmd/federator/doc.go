// Federator is the command line of the federation: it makes replicas, runs them,
// and asks and tells them things. See `federator help`.
//
// Exit codes: 0 all is well; 1 the command failed; 2 the command line is wrong;
// 3 check found problems; 4 no agent could be reached.
package main
