package lab

import (
	"testing"

	"github.com/federator/federator/test/e2e/fleet"
)

func TestOnlyWhatNobodyDecidedIsAskedAgain(t *testing.T) {
	for _, tt := range []struct {
		name string
		said fleet.Result
		want bool
	}{
		{"success", fleet.Result{}, false},
		{"success with a warning about time", fleet.Result{Err: "warning: no answer from west in time"}, false},
		{"killed, since it took too long", fleet.Result{Code: -1}, true},
		{"no agent", fleet.Result{Code: 4, Err: "no agent answers on socket x"}, true},
		{"a region between two leaders", fleet.Result{Code: 1, Err: "the region did not take the command in time: the leader could not be reached"}, true},
		{"a token that nobody could look at", fleet.Result{Code: 1, Err: "10.1.0.2:7443: the decision cannot be made now; try again with the same token"}, true},
		{"a refusal", fleet.Result{Code: 1, Err: "the plan of this drill is unsafe: gate till is closed"}, false},
		{"another one", fleet.Result{Code: 1, Err: "the name is taken in this region"}, false},
		{"a mistake in the command", fleet.Result{Code: 2, Err: "--region is missing"}, false},
	} {
		if found := unanswered(tt.said); found != tt.want {
			t.Errorf("%s: expected %t, found %t", tt.name, tt.want, found)
		}
	}
	asked := 0
	said := answer(func() fleet.Result {
		asked++
		return []fleet.Result{{Code: 4}, {Code: -1}, {Code: 1, Err: "unsafe"}, {}}[asked-1]
	})
	if asked != 3 || said.Err != "unsafe" {
		t.Errorf("expected the first answer, which is the third, found %v after %d", said, asked)
	}
}
