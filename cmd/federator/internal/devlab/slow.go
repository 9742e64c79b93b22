package devlab

import (
	"context"
	"errors"
	"time"
)

// tooLate is what did not happen in the time that it was given.
type tooLate string

func (t tooLate) Error() string { return string(t) }

// Timeout is true, as of every error that a time-out made.
func (t tooLate) Timeout() bool { return true }

// badAnswer is an answer, in whatever time, that is none.
type badAnswer string

func (b badAnswer) Error() string { return string(b) }

// errNobodyAsked means that the story made no lookup, which it does all the time
// unless it stands still itself.
var errNobodyAsked = errors.New("nothing was looked up")

// slow reports whether an error says only that something took too long.
func slow(err error) bool {
	var bad badAnswer
	var timeout interface{ Timeout() bool }
	return !errors.As(err, &bad) && (errors.Is(err, errNobodyAsked) || errors.As(err, &timeout) && timeout.Timeout())
}

// slow reports whether only the time is wrong with the figure.
func (f *figure) slow() bool { return !f.ok() && (f.err == nil || slow(f.err)) }

// within bounds how long something is waited for, by an error that is [slow].
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, tooLate(d.String()+" have passed"))
}
