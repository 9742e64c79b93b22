// Package rpc is gRPC as the federation speaks it: over connections that package
// port has proven, with one table that says who may call which method.
//
// [Access] holds that table's rules and the interceptors that apply them, along
// with what every call gets: a bounded deadline, an end to panics, a log line for
// failures that a flood cannot turn into one itself, and metrics. [NewServer]
// makes a server so equipped; [Client] makes the other end. Behind them a method
// asks [PeerOf] who calls, and [Actor] and [Origin] how to write that in the
// audit trail.
//
// Errors that callers branch on cross the wire by [Error] and [Reason].
package rpc
