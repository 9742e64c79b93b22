package checker

import "testing"

func TestAPairIsExcusedOnlyAroundWhatKeptItApart(t *testing.T) {
	west, east := Target{Region: "west", Name: "west-0"}, Target{Region: "east", Name: "east-0"}
	between := func(f Fact) []Fact {
		ended := f
		ended.At, ended.Ended = second(20), true
		f.At = second(10)
		return []Fact{f, ended}
	}
	for _, tt := range []struct {
		name     string
		facts    []Fact
		from, to float64
		want     bool
	}{
		{"nothing happened", nil, 12, 13, false},
		{"the caller is down", between(Fact{Condition: Down, Of: "west/west-0"}), 12, 13, true},
		{"the other one is down", between(Fact{Condition: Down, Of: "east/east-0"}), 12, 13, true},
		{"a third one is down", between(Fact{Condition: Down, Of: "east/east-1"}), 12, 13, false},
		{"they are cut off", between(Fact{Condition: Cut, From: "west", Of: "east"}), 12, 13, true},
		{"they are cut off the other way", between(Fact{Condition: Cut, From: "east", Of: "west"}), 12, 13, true},
		{"it began meanwhile", between(Fact{Condition: Down, Of: "east/east-0"}), 9, 11, true},
		{"it ended meanwhile", between(Fact{Condition: Down, Of: "east/east-0"}), 19, 25, true},
		{"before", between(Fact{Condition: Down, Of: "east/east-0"}), 8, 9, false},
		{"after", between(Fact{Condition: Down, Of: "east/east-0"}), 21, 22, false},
	} {
		if found := excused(pair{west, east}, newFacts(tt.facts), second(tt.from), second(tt.to)); found != tt.want {
			t.Errorf("%s: expected %t, found %t", tt.name, tt.want, found)
		}
	}
}
