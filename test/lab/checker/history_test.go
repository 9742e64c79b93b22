package checker

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// at makes operations shorter to write: times are in milliseconds.
func write(client int, value uint64, call, end int) operation {
	return operation{client: client, key: "k", write: true, value: value, call: time.Duration(call) * time.Millisecond, end: time.Duration(end) * time.Millisecond}
}

func read(client int, value uint64, call, end int) operation {
	o := write(client, value, call, end)
	o.write = false
	return o
}

func lost(o operation) operation { o.unknown = true; return o }

func on(key string, o operation) operation { o.key = key; return o }

func TestAHistoryIsJudgedAsThatOfOneRegisterPerKey(t *testing.T) {
	for _, tt := range []struct {
		name string
		all  []operation
		want porcupine.CheckResult
	}{
		{"nothing", nil, porcupine.Ok},
		{"a read before any write finds nothing", []operation{read(0, 0, 0, 1), write(1, 1, 2, 3)}, porcupine.Ok},
		{"a read finds the last write", []operation{write(0, 1, 0, 1), read(1, 1, 2, 3)}, porcupine.Ok},
		{"a read finds nothing after a write", []operation{write(0, 1, 0, 1), read(1, 0, 2, 3)}, porcupine.Illegal},
		{"a read finds what another key holds", []operation{write(0, 1, 0, 1), on("other", read(1, 1, 2, 3))}, porcupine.Illegal},
		{"a stale read", []operation{write(0, 1, 0, 1), write(0, 2, 2, 3), read(1, 1, 4, 5)}, porcupine.Illegal},
		{"a read beside a write finds either", []operation{write(0, 1, 0, 1), write(0, 2, 2, 9), read(1, 1, 3, 4), read(1, 2, 5, 6)}, porcupine.Ok},
		{"reads beside a write do not go back", []operation{write(0, 1, 0, 1), write(0, 2, 2, 9), read(1, 2, 3, 4), read(1, 1, 5, 6)}, porcupine.Illegal},
		{"a write of unknown outcome that nobody sees", []operation{write(0, 1, 0, 1), lost(write(0, 2, 2, 3)), read(1, 1, 4, 5)}, porcupine.Ok},
		{"one that is seen long after", []operation{write(0, 1, 0, 1), lost(write(0, 2, 2, 3)), read(1, 1, 40, 41), read(1, 2, 50, 51)}, porcupine.Ok},
		{"one that is seen and then gone", []operation{write(0, 1, 0, 1), lost(write(0, 2, 2, 3)), read(1, 2, 40, 41), read(1, 1, 50, 51)}, porcupine.Illegal},
		{"one that is seen before it was tried", []operation{read(1, 2, 0, 1), lost(write(0, 2, 2, 3))}, porcupine.Illegal},
		{"a value that nobody wrote", []operation{write(0, 1, 0, 1), read(1, 7, 2, 3)}, porcupine.Illegal},
		{"a failed read says nothing", []operation{write(0, 1, 0, 1), lost(read(1, 0, 2, 3))}, porcupine.Ok},
	} {
		if found, _ := linearizable(tt.all, time.Minute); found != tt.want {
			t.Errorf("%s: expected %s, found %s", tt.name, tt.want, found)
		}
	}
}

func TestManyWritesOfUnknownOutcomeAreCheckedQuickly(t *testing.T) {
	var all []operation
	for i := range 60 { // unsettled, their orders alone would be too many to try
		all = append(all, lost(write(i, uint64(i+1), i, i+1)))
	}
	for i := range 3 { // as many as there can be behind each other in a leader that was cut off
		all = append(all, read(100, uint64(60-i), 1000+2*i, 1001+2*i))
	}
	if found, _ := linearizable(all, 10*time.Second); found != porcupine.Ok {
		t.Errorf("expected a decision that it is legal, found %s", found)
	}
}

func TestAHistoryIsBounded(t *testing.T) {
	h := history{limit: 2}
	if !h.add(operation{}) || h.add(operation{}) || h.add(operation{}) || len(h.operations()) != 2 {
		t.Errorf("expected room for two operations, found %d", len(h.operations()))
	}
}
