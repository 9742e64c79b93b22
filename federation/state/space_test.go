package state

import (
	"strings"
	"testing"
)

func TestADiskIsLowWhenLittleIsFreeBothInBytesAndInProportion(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, tt := range []struct {
		name string
		space
		low bool
	}{
		{"an empty small volume", space{free: 64 * mib, size: 64 * mib}, false},
		{"a small volume that is nearly full", space{free: 5 * mib, size: 64 * mib}, true},
		{"a large one with a few GiB left", space{free: 5 * gib, size: 500 * gib}, false},
		{"a large one with little left", space{free: gib - 1, size: 500 * gib}, true},
		{"a full one", space{free: 0, size: 500 * gib}, true},
		{"one that has no size", space{}, false},
	} {
		err := tt.trouble("/data")
		if (err != nil) != tt.low || err != nil && (CodeOf(err) != "disk-low" || !strings.Contains(err.Error(), "/data")) {
			t.Errorf("%s: expected low: %v, found %v", tt.name, tt.low, err)
		}
	}
}

func TestTheDiskOfADirectoryIsMeasured(t *testing.T) {
	at, err := spaceOf(t.TempDir())
	if err != nil || at.size == 0 || at.free > at.size {
		t.Errorf("found %+v, %v", at, err)
	}
	if _, err := spaceOf(t.TempDir() + "/missing"); err == nil {
		t.Error("a directory that is not there has room")
	}
}
