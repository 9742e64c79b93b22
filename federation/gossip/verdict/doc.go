// Package verdict holds the rules by which a region judges that another region
// has fallen silent, and that it is back. Values in, values out: no I/O, no
// clock, no randomness.
//
// Reachability is relative to the observer. Every region sends every other one
// about fifteen echoes a second, and whatever shows that something came back
// from over there counts as evidence: an answered echo however late, bytes on
// the replication stream unless it ended because that region no longer hears this
// one, or the same seen by a sibling. A region is silent when
// there has been no evidence for two seconds although at least 24 echoes were
// sent, although the observer itself never stopped to look (a garbage
// collection, a SIGSTOP or a starved machine would), and although somebody else
// still answers. When nobody does, the fault is probably here: the observer is
// isolated. A region is back once half of the echoes were answered for three
// seconds and its replication stream has caught up.
//
// Why 24 in two seconds: at 20 % loss each way an echo goes unanswered with
// probability 0.36, so 24 in a row do so about once in 10^10 tries. What really
// tests the rule is loss in bursts; the simulations in this package run both for
// thirty days.
package verdict
