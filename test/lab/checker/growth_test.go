package checker

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestTheSlopeIsThatOfMostPointsWhateverTheOthersDo(t *testing.T) {
	line := func(n int, rate float64, outliers ...int) []point {
		var out []point
		for i := range n {
			out = append(out, point{float64(i), 100 + rate*float64(i)})
		}
		for _, i := range outliers {
			out[i].y += 10_000
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		points []point
		want   float64
	}{
		{"none", nil, 0},
		{"one", line(1, 5), 0},
		{"two", line(2, 5), 5},
		{"flat", line(20, 0), 0},
		{"rising", line(20, 3), 3},
		{"falling", line(20, -3), -3},
		{"rising, with a burst", line(20, 3, 4, 5, 6), 3},
		{"flat, with a burst in the end", line(20, 0, 18, 19), 0},
		{"all at one moment", []point{{1, 1}, {1, 9}}, 0},
	} {
		if found := slope(tt.points); math.Abs(found-tt.want) > 1e-9 {
			t.Errorf("%s: expected %v, found %v", tt.name, tt.want, found)
		}
	}
}

// grown makes a life from its start: a sample a second.
func grown(seconds int, of func(age int) (goroutines, bytes float64)) *life {
	l := &life{who: "west/west-0"}
	for age := range seconds {
		g, b := of(age)
		l.add(sample{at: time.Unix(int64(1000+age), 0), goroutines: g, resides: b, started: 1000})
	}
	return l
}

func TestALifeIsJudgedAfterItsWarmUp(t *testing.T) {
	const mib = 1 << 20
	bounds := GrowthOptions{}.withDefaults().Bounds
	for _, tt := range []struct {
		name   string
		life   *life
		judged bool
		want   int
	}{
		{"too short", grown(40, func(int) (float64, float64) { return 100, 50 * mib }), false, 0},
		{"steady", grown(300, func(int) (float64, float64) { return 100, 50 * mib }), true, 0},
		{"growing while it warms up", grown(300, func(age int) (float64, float64) { return float64(min(age, 30)) * 10, 50 * mib }), true, 0},
		{"a saw of memory", grown(300, func(age int) (float64, float64) { return 100, float64(50+age%20) * mib }), true, 0},
		{"leaking goroutines", grown(300, func(age int) (float64, float64) { return 100 + float64(age)/2, 50 * mib }), true, 1},
		{"leaking goroutines slowly: too few to tell", grown(120, func(age int) (float64, float64) { return 100 + float64(age)/8, 50 * mib }), true, 0},
		{"leaking memory", grown(600, func(age int) (float64, float64) { return 100, 50*mib + float64(age)*mib/10 }), true, 1},
		{"leaking both", grown(600, func(age int) (float64, float64) { return 100 + float64(age), 50*mib + float64(age)*mib/10 }), true, 2},
		{"memory that gets warm for minutes and then stays", grown(600, func(age int) (float64, float64) { return 100, 50*mib + float64(min(age, 280))*mib/4 }), true, 0},
		{"goroutines that come for minutes and then stay", grown(600, func(age int) (float64, float64) { return 100 + float64(min(age, 280)), 50 * mib }), true, 0},
		{"leaking memory after a quiet time", grown(900, func(age int) (float64, float64) { return 100, 50*mib + float64(max(0, age-200))*mib/8 }), true, 1},
		{"leaking memory, with a saw", grown(900, func(age int) (float64, float64) { return 100, 50*mib + float64(age)*mib/10 + float64(age%20)*mib/4 }), true, 1},
		{"shrinking", grown(300, func(age int) (float64, float64) { return 500 - float64(age), 500*mib - float64(age)*mib }), true, 0},
	} {
		trend, judged := trendOf(tt.life, 30*time.Second, 20*time.Second)
		if judged != tt.judged {
			t.Errorf("%s: expected judged %t, found %+v", tt.name, tt.judged, trend)
			continue
		}
		if found := judgeTrend(trend, bounds, time.Time{}); judged && len(found) != tt.want {
			t.Errorf("%s: expected %d violations, found %v", tt.name, tt.want, found)
		}
	}
}

func TestALongLifeIsKeptInABoundedNumberOfSamplesOverAllOfIt(t *testing.T) {
	l := grown(10_000, func(age int) (float64, float64) { return float64(age), 0 })
	if n := len(l.samples); n >= maxSamples || n < maxSamples/4 {
		t.Errorf("expected some hundred samples, found %d", n)
	}
	first, last := l.samples[0].goroutines, l.samples[len(l.samples)-1].goroutines
	if first > 10 || last < 9900 {
		t.Errorf("expected samples of the whole life, found from %v to %v", first, last)
	}
	if trend, _ := trendOf(l, 0, 0); math.Abs(trend.goroutines-60) > 0.1 {
		t.Errorf("expected 60 a minute, found %v", trend.goroutines)
	}
}

func TestTwoLivesThatBeganInTheSameSecondAreTwo(t *testing.T) {
	starts := []string{"1.7e+09", "1.70000000042e+09"}
	asked := 0
	metrics := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "go_goroutines 41\nprocess_resident_memory_bytes 5.1e+07\nprocess_start_time_seconds %s\nfederator_gossip_pauses_total 3\n", starts[asked/2])
		asked++
	}))
	defer metrics.Close()
	g := NewGrowth(GrowthOptions{Targets: []Target{{Region: "west", Name: "west-0", HTTP: strings.TrimPrefix(metrics.URL, "http://")}}, Every: 30 * time.Second})
	for range 2 * len(starts) {
		g.lookAtAll(t.Context())
	}
	if len(g.lives) != 2 || g.reads != 4 {
		t.Errorf("expected two lives of two looks each, found %d of %d", len(g.lives), g.reads)
	}
}

func TestMetricsAreReadFromTheirText(t *testing.T) {
	const text = "# HELP go_goroutines n\ngo_goroutines 41\nprocess_resident_memory_bytes 5.1e+07\nprocess_start_time_seconds 1.7e+09\nfederator_gossip_pauses_total 3\nother{a=\"b\"} x\n"
	found, err := parseMetrics(strings.NewReader(text), time.Unix(5, 0))
	if err != nil || found != (sample{time.Unix(5, 0), 41, 5.1e7, 1.7e9, 3}) {
		t.Errorf("found %+v, %v", found, err)
	}
	for _, text := range []string{"", "go_goroutines 41\n", strings.Replace(text, "41", "many", 1)} {
		if _, err := parseMetrics(strings.NewReader(text), time.Time{}); err == nil {
			t.Errorf("%q: expected an error", text)
		}
	}
}
