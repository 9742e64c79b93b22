// Package checker watches a federation while it is being broken, and says
// whether it kept its promises.
//
// A [Checker] runs beside a scenario and then gives a [Report]: how much it
// looked at, the worst figure, and every violation. What a checker judges by is
// a pure function over what it recorded, tested as a table; the rest is a thin
// shell that asks the agents. Whether the checkers can fail at all is shown by
// the negative controls, which run each of them against a federator of package
// mutant and against the true one (FEDERATOR_LAB=1).
//
//	Linearizability  the region's state is one register per key (porcupine)
//	Acknowledged     no acknowledged write is lost
//	Convergence      all replicas come to see what is true
//	DNSProber        every question is answered, and with what is alive
//	MTLSProber       every pair of replicas can prove who they are, always
//	Growth           agents do not grow
//	Problems         check names a fault while it lasts, status shows it, and both go quiet after
//
// Checkers reach an agent as its [Target] says: the operator's socket by its
// path, all else by a dial function, so that they can stand in the agent's
// network namespace.
package checker
