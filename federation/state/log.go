package state

import (
	"context"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
)

// logSink hands the lines of hashicorp/raft to slog, a flood thinned out.
type logSink struct {
	to    *slog.Logger
	limit *rate.Limiter
}

// newRaftLogger adapts a slog logger to what raft takes.
func newRaftLogger(to *slog.Logger) hclog.Logger {
	log := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Output: io.Discard, Level: hclog.Debug})
	log.RegisterSink(&logSink{to: to, limit: rate.NewLimiter(20, 100)})
	return log
}

// Accept takes one line.
func (l *logSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	slogLevel := levelOf(level)
	if msg == "failed to decode incoming command" { // a peer that went away
		slogLevel = slog.LevelDebug
	}
	if !l.to.Enabled(context.Background(), slogLevel) || !l.limit.Allow() {
		return
	}
	l.to.Log(context.Background(), slogLevel, "raft: "+msg, args...)
}

// levelOf lowers raft's levels by one step where they say nothing an operator
// must act on: its Info is chatter.
func levelOf(level hclog.Level) slog.Level {
	switch level {
	case hclog.Error:
		return slog.LevelError
	case hclog.Warn:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}
