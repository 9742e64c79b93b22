package wan

import (
	"strings"
	"testing"
	"time"
)

// arrived lets time pass and returns what arrived as "to:packet ...".
func arrived(r *Router, at time.Duration) string {
	var all []string
	for _, d := range r.Due(start.Add(at)) {
		all = append(all, d.To+":"+string(d.Packet))
	}
	return strings.Join(all, " ")
}

func set(t *testing.T, r *Router, from, to string, l Link) {
	t.Helper()
	if err := r.Set(from, to, l); err != nil {
		t.Fatal(err)
	}
}

func hand(t *testing.T, r *Router, at time.Duration, from, to, packet string) {
	t.Helper()
	if err := r.Send(start.Add(at), from, to, []byte(packet)); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, r *Router, at time.Duration, want string) {
	t.Helper()
	if found := arrived(r, at); found != want {
		t.Errorf("by %v: expected %q, found %q", at, want, found)
	}
}

func TestPacketsArriveInTheOrderOfTheirTimesAndOnlyThen(t *testing.T) {
	r := New(1, "west", "east", "south")
	set(t, r, "west", "east", RTT(80*ms))
	set(t, r, "west", "south", RTT(150*ms))
	if _, some := r.Next(); some {
		t.Error("a new router has packets on their way")
	}
	hand(t, r, 0, "west", "south", "1")
	hand(t, r, 0, "west", "east", "2")
	hand(t, r, 0, "west", "east", "3")
	hand(t, r, 10*ms, "east", "west", "4")
	if next, _ := r.Next(); !next.Equal(start.Add(10 * ms)) {
		t.Errorf("expected the next arrival at 10ms, found %v", next.Sub(start))
	}
	expect(t, r, 9*ms, "")
	expect(t, r, 10*ms, "west:4")
	expect(t, r, 39*ms, "")
	expect(t, r, 100*ms, "east:2 east:3 south:1")
	if _, some := r.Next(); some {
		t.Error("packets are on their way that have arrived")
	}
}

func TestACutIsOneWayAndTakesWhatIsOnItsWay(t *testing.T) {
	r := New(1, "west", "east")
	set(t, r, "west", "east", RTT(80*ms))
	set(t, r, "east", "west", RTT(80*ms))
	hand(t, r, 0, "west", "east", "1")
	if err := r.Cut("west", "east", true); err != nil {
		t.Fatal(err)
	}
	hand(t, r, 0, "west", "east", "2")
	hand(t, r, 0, "east", "west", "3")
	expect(t, r, 100*ms, "west:3")
	if err := r.Cut("west", "east", false); err != nil {
		t.Fatal(err)
	}
	hand(t, r, 100*ms, "west", "east", "4")
	expect(t, r, 200*ms, "east:4")
	stats, err := r.Stats("west", "east")
	if want := (Stats{Sent: 3, SentBytes: 3, Delivered: 1, DeliveredBytes: 1, Cut: 2}); err != nil || stats != want {
		t.Errorf("expected %+v, found %+v, %v", want, stats, err)
	}
}

func TestEveryPacketIsCountedOnce(t *testing.T) {
	r := New(1, "west", "east")
	set(t, r, "west", "east", Link{Delay: 10 * ms, Jitter: 10 * ms, Loss: 0.1, Duplicate: 0.1, Reorder: 0.1, HoldBack: ms, Rate: 100_000, Queue: 3000, BurstEvery: 500 * ms, BurstFor: 50 * ms})
	for n := range 5000 {
		hand(t, r, time.Duration(n)*ms, "west", "east", strings.Repeat("x", 120))
		r.Due(start.Add(time.Duration(n) * ms))
	}
	r.Due(start.Add(time.Hour))
	s, err := r.Stats("west", "east")
	if err != nil {
		t.Fatal(err)
	}
	if s.Sent != 5000 || s.SentBytes != 5000*120 || s.Delivered+s.Gone() != s.Sent+s.Duplicated || s.DeliveredBytes != s.Delivered*120 {
		t.Errorf("the counts do not add up: %+v", s)
	}
	for name, n := range map[string]int64{"lost": s.Lost, "in bursts": s.LostInBursts, "without room": s.Overflowed, "twice": s.Duplicated, "held back": s.HeldBack} {
		if n == 0 {
			t.Errorf("expected some packets %s, found none", name)
		}
	}
}

func TestWhatIsOnItsWayIsBounded(t *testing.T) {
	r := New(1, "west", "east")
	set(t, r, "west", "east", Link{Delay: time.Hour})
	for range maxFlight + 10 {
		hand(t, r, 0, "west", "east", "x")
	}
	if s, _ := r.Stats("west", "east"); s.Overflowed != 10 || len(r.queue) != maxFlight {
		t.Errorf("expected %d packets on their way and 10 without room, found %d and %d", maxFlight, len(r.queue), s.Overflowed)
	}
	r.Due(start.Add(time.Hour))
	hand(t, r, time.Hour, "west", "east", "y")
	expect(t, r, 2*time.Hour, "east:y")
}

func TestARouterRefusesRegionsThatItDoesNotKnowAndLinksThatCannotBe(t *testing.T) {
	r := New(1, "west", "east")
	for _, pair := range [][2]string{{"west", "north"}, {"north", "west"}, {"west", "west"}, {"", ""}} {
		_, errLink := r.Link(pair[0], pair[1])
		_, errStats := r.Stats(pair[0], pair[1])
		for _, err := range []error{r.Set(pair[0], pair[1], Link{}), r.Cut(pair[0], pair[1], true), r.Send(start, pair[0], pair[1], nil), errLink, errStats} {
			if err == nil {
				t.Errorf("from %q to %q: expected an error", pair[0], pair[1])
			}
		}
	}
	nan := 0.0
	nan /= nan
	for _, test := range []struct {
		link Link
		says []string
	}{
		{Link{Loss: 1.5, Duplicate: -0.1, Reorder: nan}, []string{"Loss", "1.5", "Duplicate", "-0.1", "Reorder", "NaN"}},
		{Link{Delay: -ms, Jitter: -ms, HoldBack: -ms}, []string{"Delay", "Jitter", "HoldBack"}},
		{Link{Rate: -1}, []string{"Rate"}},
		{Link{BurstEvery: ms}, []string{"BurstFor"}},
		{Link{BurstFor: ms}, []string{"BurstEvery"}},
		{Link{Reorder: 0.1}, []string{"HoldBack"}},
	} {
		err := r.Set("west", "east", test.link)
		if err == nil {
			t.Errorf("%+v: expected an error", test.link)
			continue
		}
		for _, word := range test.says {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%+v: expected an error that says %q, found %v", test.link, word, err)
			}
		}
	}
	if l, err := r.Link("west", "east"); err != nil || l != (Link{}) {
		t.Errorf("a refused link changed the path: %+v, %v", l, err)
	}
}
