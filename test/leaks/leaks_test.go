package leaks

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { Main(m) }

// linger ends when it is told to.
func linger(end <-chan struct{}) { <-end }

func TestAGoroutineThatStaysIsNamed(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	go linger(end)
	if err := find(0); err == nil || !strings.Contains(err.Error(), "leaks.linger") {
		t.Errorf("expected to be told of linger, found %v", err)
	}
	if err := find(0, goleak.IgnoreTopFunction("github.com/federator/federator/test/leaks.linger")); err != nil {
		t.Errorf("expected what is ignored not to count, found %v", err)
	}
}

func TestAGoroutineThatEndsLaterThanGoleakLooksIsNone(t *testing.T) {
	end := make(chan struct{})
	time.AfterFunc(time.Second, func() { close(end) })
	go linger(end)
	if err := find(time.Minute); err != nil {
		t.Errorf("expected nothing in the end, found %v", err)
	}
}

func TestTestsThatFailKeepTheirCode(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	go linger(end)
	if code := Code(2); code != 2 {
		t.Errorf("expected code 2, found %d", code)
	}
}
