// Package source is the one small interface through which services enter the
// federation.
//
// A [Source] watches something (a file, the operator API, a Kubernetes API
// server) and hands over an [Update] whenever it changes: the complete desired
// state of one cluster as that source sees it, never a difference. Complete
// states make a source stateless and a lost event harmless; [Diff] turns two of
// them into the smallest set of writes for the region's Raft.
//
// A source that cannot be read says so with an Update that carries only an
// error. Such an Update never removes anything: the last good state stays
// published, marked stale, because an unreadable source is not an empty one.
package source
