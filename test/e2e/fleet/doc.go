// Package fleet runs federations of real processes for end-to-end tests: every
// replica is an agent of the built binary, made by the same init, token create
// and join as in production, and asked through the same command line.
//
// A [Fleet] belongs to one test. Its replicas each have a loopback address and
// a data directory of their own, and whatever happens to the test, its processes
// end with it. What they said is printed when the test fails. Nothing here waits
// by sleeping: [Fleet.Until] polls a condition and says what was last seen.
package fleet
