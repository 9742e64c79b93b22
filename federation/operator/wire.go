package operator

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// moment is a time on the wire, unset if it is zero.
func moment(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func lasting(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

// measured is a duration on the wire, unset if it is zero.
func measured(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// about rounds a duration for people.
func about(d time.Duration) time.Duration {
	switch {
	case d.Abs() >= time.Minute:
		return d.Round(time.Second)
	case d.Abs() >= time.Second:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}

// most returns up to n of the names, and how many more there are in words.
func most(names []string, n int) []string {
	if len(names) <= n {
		return names
	}
	return append(append([]string(nil), names[:n]...), "and more")
}
