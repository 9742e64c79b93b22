package state

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

// largeState is 100,000 endpoint sets of ten endpoints.
func largeState(b *testing.B) *State {
	r := &rig{t: b, s: NewState(), now: epoch0}
	r.ok(foundUSWest())
	ends := make([]string, 10)
	for i := range ends {
		ends[i] = fmt.Sprint("endpoint-", i)
	}
	for i := range 1000 {
		cmd := &PutSets{Cluster: "west-1", Source: "file"}
		for j := range 100 {
			cmd.Upserts = append(cmd.Upserts, set("west-1", "file", fmt.Sprintf("s-%d-%d", i, j), ends...))
		}
		r.ok(cmd)
	}
	return r.s
}

func BenchmarkLargeState(b *testing.B) {
	s := largeState(b)
	var snap bytes.Buffer
	if err := s.WriteSnapshot(&snap); err != nil {
		b.Fatal(err)
	}
	b.Run("copy", func(b *testing.B) { // how long Apply waits for a snapshot
		for b.Loop() {
			s.clone()
		}
	})
	b.Run("own", func(b *testing.B) {
		for b.Loop() {
			s.Own()
		}
	})
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			if err := s.WriteSnapshot(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := ReadSnapshot(bytes.NewReader(snap.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
}
