// Package link makes clusters one federation from where an operator is: it installs
// federator, joins two clusters, takes one out again, exports services, and says what
// is in the way of any of that.
//
// Everything goes the same way: [Look] finds the facts of a cluster, pure functions
// decide from them what is wrong ([Examine], [Preflight]) and what comes next
// ([next]), and a thin shell does that one thing and looks again. So every command
// may be cut short anywhere and run again: what is done already is seen and not done
// twice.
//
// One thing goes from one cluster to the other: the join token, which pins the root
// of the trust domain, is good for one replica of one region and cluster, once, and
// for an hour. It goes from a replica's answer into a Secret, and never into the
// arguments of a process, a line that is printed, or a file.
package link
