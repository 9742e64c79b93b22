// Package lab is the failure lab: a federation of real agents in a network of its
// own, which is broken on purpose while checkers watch.
//
// A [World] is that federation: regions of replicas, the workloads that its
// services name, and a host per region from which clients ask. A [Fault] breaks
// one thing, tells the timeline what is true from then on, and mends it again. A
// [Scenario] is a name, a sentence and what to do; [World.Play] plays it while all
// checkers run, and after it expects the world to be whole: every replica sees the
// truth, nothing that was acknowledged is lost, and check finds nothing. Several
// scenarios are played one after the other on one world, so that each begins on
// what the one before has left.
//
// Everything that is chosen at random follows from one seed, which each run
// prints and FEDERATOR_LAB_SEED repeats. FEDERATOR_LAB=1 turns the lab on. What
// each scenario found goes into FEDERATOR_LAB_RESULTS as JSON, of which package
// table makes the table in docs/reliability.md.
//
// It needs root on Linux. Nothing is left behind, however it ends: the network
// has no names, agents die with the test, full disks are file systems without a
// mount point, and a child process removes the files (see package reap).
package lab
