// Package devlab runs a whole federation on one machine: three regions of three
// replicas, each replica a process of its own, and demo services that their
// answers lead to. `federator dev` is this package; its story is also the
// end-to-end test of everything.
//
// A [Plan] decides every name and address. A [Lab] brings it to life by running
// the same commands that an operator would type, each printed as it runs, and
// owns the processes: they end with it, whichever way it ends. A [Watch] looks
// names up all the while and remembers every answer, so that the [Story] can say
// when exactly an address left the answers. A chapter of which only times are wrong,
// while agents stood still because the machine was busy, is told again.
//
// Region k (us-west 1, eu-central 2, asia-east 3) has its endpoints on
// 127.10.k.n, and the DNS of its replica r (from 0) on 127.0.0.1:(8600+10k+r).
package devlab
