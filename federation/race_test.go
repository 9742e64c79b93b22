package federation

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// way is how an address behaves that is dialed.
type way struct {
	after time.Duration
	err   error
}

func TestTheAddressThatAnswersFirstIsTaken(t *testing.T) {
	refused := errors.New("refused")
	for name, test := range map[string]struct {
		first, second way
		want          string // who is connected to, "" for an error
		took          time.Duration
	}{
		"the first answers":                   {way{after: 100 * time.Millisecond}, way{}, "first", 100 * time.Millisecond},
		"the first is refused":                {way{10 * time.Millisecond, refused}, way{after: 20 * time.Millisecond}, "second", 30 * time.Millisecond},
		"the first says nothing":              {way{after: time.Hour}, way{after: 20 * time.Millisecond}, "second", headStart + 20*time.Millisecond},
		"the first is slow, the second worse": {way{after: 2 * headStart}, way{after: time.Hour}, "first", 2 * headStart},
		"neither":                             {way{10 * time.Millisecond, refused}, way{20 * time.Millisecond, refused}, "", 30 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ways := map[string]way{"first": test.first, "second": test.second}
				dial := func(ctx context.Context, address string) (net.Conn, error) {
					select {
					case <-ctx.Done():
						return nil, ctx.Err()
					case <-time.After(ways[address].after):
						return &named{address: address}, ways[address].err
					}
				}
				began := time.Now()
				conn, err := race(context.Background(), headStart, []string{"first", "second"}, dial)
				if took := time.Since(began); took != test.took {
					t.Errorf("expected it after %v, found %v", test.took, took)
				}
				if test.want == "" {
					if !errors.Is(err, refused) || strings.Count(err.Error(), "refused") != 2 {
						t.Errorf("expected both refusals, found %v", err)
					}
					return
				}
				if n, ok := conn.(*named); !ok || n.address != test.want {
					t.Errorf("expected the %s, found %v, %v", test.want, conn, err)
				}
			})
		})
	}
}

// named is a connection that only says to whom.
type named struct {
	net.Conn
	address string
}

func (*named) Close() error { return nil }
