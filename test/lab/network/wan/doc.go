// Package wan is the wide area network of the failure lab without its sockets:
// which packet arrives, when, and how often. It has no clock and no randomness
// but the times and the seed it is given, so that a run can be repeated and every
// rule be tested.
//
// A [Router] joins regions by one path per ordered pair. Each path has a [Link],
// which says how it behaves, may be cut, and draws its luck from a source of its
// own: the same number of draws for each packet, whatever the settings, so that
// the n-th packet of a path has the same luck in every run with the same seed.
// Bursts of loss follow the clock and not the traffic, and draw from another
// source for the same reason.
package wan
