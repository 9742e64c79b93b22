package state

import (
	"errors"
	"fmt"
)

// Error is an error with a stable code, so that it keeps its meaning when a
// command is forwarded to another replica. Errors with equal codes match with
// errors.Is.
type Error struct {
	// Code is stable across versions: lower-case words joined by hyphens.
	Code string
	// Message says what was expected, what was found and what to do.
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Is reports whether target is an [Error] with the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// withf returns an error with e's code and a message of its own.
func (e *Error) withf(format string, args ...any) *Error {
	return &Error{Code: e.Code, Message: fmt.Sprintf(format, args...)}
}

// The errors callers branch on.
var (
	// A command was malformed or broke a bound.
	ErrInvalid = &Error{"invalid", "invalid command"}
	// The region was not founded yet, or is founded already by another.
	ErrNotFounded = &Error{"not-founded", "this region is not founded yet; run federator init or federator join first"}
	ErrFounded    = &Error{"founded", "this region is founded already"}
	// Something the command names does not exist.
	ErrNotFound = &Error{"not-found", "not found"}
	// The replica name belongs to another key.
	ErrNameTaken = &Error{"name-taken", "the replica name is taken; choose another with --name, or remove the old replica with federator leave"}
	// The service in this cluster is owned by another source.
	ErrSourceTaken = &Error{"source-taken", "the service is owned by another source in this cluster"}
	// A fencing term or health version is older than the one agreed on.
	ErrStale = &Error{"stale", "stale term: another replica owns this cluster now"}
	// A compare-and-set found another generation than expected.
	ErrConflict = &Error{"conflict", "changed meanwhile; read it again and retry"}
	// A clock is more than [MaxClockSkew] ahead.
	ErrClock = &Error{"clock", "clock too far ahead"}
	// Tokens.
	ErrTokenUnknown = &Error{"token-unknown", "the token is unknown here; create one with federator token create"}
	ErrTokenExpired = &Error{"token-expired", "the token has expired; create a new one with federator token create"}
	ErrTokenUsed    = &Error{"token-used", "the token was used already by another replica; create a new one with federator token create"}
	ErrTokenPurpose = &Error{"token-purpose", "the token was made for another purpose"}
	// The region registry.
	ErrNotAuthority  = &Error{"not-authority", "only the authority region may do this"}
	ErrRegionTaken   = &Error{"region-taken", "the region name was founded by another replica; join that region, or choose another name"}
	ErrRegionRemoved = &Error{"region-removed", "the region was removed; it must rejoin with a new token"}
	ErrClusterTaken  = &Error{"cluster-taken", "the cluster name belongs to another region; cluster names are unique in the federation"}
	// The command needs a protocol that some replica of the region lacks.
	ErrProtocol = &Error{"protocol", "a replica of this region is too old for this; upgrade it first"}
	// The shell's: not the leader, outcome unknown, overloaded, shut down, halted.
	ErrNotLeader = &Error{"not-leader", "this replica is not the region's Raft leader"}
	ErrUncertain = &Error{"uncertain", "the leader changed before the command was confirmed; retry with the same command id"}
	ErrBusy      = &Error{"busy", "the leader is overloaded; retry with the same command id"}
	ErrShutdown  = &Error{"shutdown", "the replica is shutting down"}
	ErrHalted    = &Error{"halted", "the replica halted"}
	// A file on disk or an archive cannot be used.
	ErrCorrupt = &Error{"corrupt", "corrupt data"}
	ErrFormat  = &Error{"format", "written by a newer federator; use that version or a newer one"}
)

// CodeOf returns the code of err, "" for nil and "internal" for an error that
// has none.
func CodeOf(err error) string {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	if errors.Is(err, ErrNotLeader) {
		return ErrNotLeader.Code
	}
	return "internal"
}

// FromCode is the inverse of [CodeOf]: an error that matches the sentinel of the
// code, with the given message. An empty code gives nil.
func FromCode(code, message string) error {
	if code == "" {
		return nil
	}
	return &Error{Code: code, Message: message}
}

// NotLeaderError says who leads, so that the caller can forward. It matches
// [ErrNotLeader].
type NotLeaderError struct {
	// Leader is the Raft id of the leader, "" when there is none.
	Leader string
}

// Error names the leader.
func (e *NotLeaderError) Error() string {
	if e.Leader == "" {
		return ErrNotLeader.Message + ", and none is known: an election is under way or the quorum is lost"
	}
	return ErrNotLeader.Message + ", " + e.Leader + " is"
}

// Is matches [ErrNotLeader].
func (e *NotLeaderError) Is(target error) bool { return ErrNotLeader.Is(target) }
