package gossip

import (
	"bytes"
	"context"
	"log"
	"log/slog"

	"golang.org/x/time/rate"
)

// logWriter turns memberlist's lines into structured ones, a few a second.
type logWriter struct {
	log   *slog.Logger
	limit *rate.Limiter
}

func memberlistLogger(l *slog.Logger) *log.Logger {
	return log.New(&logWriter{log: l, limit: rate.NewLimiter(2, 20)}, "", 0)
}

// levels is how much we think of memberlist's levels: its verdicts do not decide
// anything here.
var levels = []struct {
	prefix string
	level  slog.Level
}{
	{"[ERR]", slog.LevelInfo},
	{"[ERROR]", slog.LevelInfo},
	{"[WARN]", slog.LevelDebug},
}

// Write implements io.Writer for one line of a log.Logger.
func (w *logWriter) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	for _, l := range levels {
		if bytes.HasPrefix(line, []byte(l.prefix)) {
			level = l.level
		}
	}
	if w.log.Enabled(context.Background(), level) && w.limit.Allow() {
		w.log.Log(context.Background(), level, "memberlist", "line", string(bytes.TrimSpace(line)))
	}
	return len(line), nil
}
