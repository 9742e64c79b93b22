package federation

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// patientAlarms looks at alarms that answer, on a machine that may stand still
// meanwhile.
func patientAlarms(t *testing.T) *alarmDesk {
	d := newAlarmDesk(quiet())
	d.timeout = patience
	t.Cleanup(d.close)
	return d
}

// prometheus answers like one, whatever the query.
func prometheusLike(t *testing.T, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/base/api/v1/query" || r.URL.Query().Get("query") != "sum(rate(errors[1m]))" {
			http.Error(w, "unexpected "+r.URL.String(), http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/base/"
}

func TestAQueryMustYieldOneValueWithinItsBounds(t *testing.T) {
	vector := func(values ...string) string {
		var all []string
		for _, v := range values {
			all = append(all, fmt.Sprintf(`{"metric":{},"value":[1.5,%q]}`, v))
		}
		return `{"status":"success","data":{"resultType":"vector","result":[` + strings.Join(all, ",") + `]}}`
	}
	low, high := 1.0, 5.0
	d := patientAlarms(t)
	for name, tt := range map[string]struct{ body, want string }{
		"within":        {vector("3"), ""},
		"at its bound":  {vector("5"), ""},
		"too high":      {vector("5.1"), "expected at most 5, found 5.1"},
		"too low":       {vector("0"), "expected at least 1, found 0"},
		"no number":     {vector("NaN"), "found NaN"},
		"infinite":      {vector("+Inf"), "expected at most 5"},
		"a scalar":      {`{"status":"success","data":{"resultType":"scalar","result":[1.5,"3"]}}`, ""},
		"nothing":       {vector(), "one value, found 0"},
		"two":           {vector("3", "3"), "one value, found 2"},
		"a matrix":      {`{"status":"success","data":{"resultType":"matrix","result":[]}}`, `found "matrix"`},
		"a bad query":   {`{"status":"error","error":"parse error"}`, "parse error"},
		"something":     {`<html>`, "not that of a Prometheus"},
		"no such shape": {`{"status":"success","data":{"resultType":"vector","result":{"a":1}}}`, "not that of a Prometheus"},
		"too much":      {`{"status":"` + strings.Repeat("x", maxAlarmBody) + `"}`, "at most"},
		"an odd value":  {`{"status":"success","data":{"resultType":"scalar","result":[1.5,{}]}}`, "expected a number"},
	} {
		a := catalog.Alarm{Name: "errors", Prometheus: prometheusLike(t, tt.body), Query: "sum(rate(errors[1m]))", Min: &low, Max: &high}
		err := d.ask(t.Context(), a)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: expected %q, found %v", name, tt.want, err)
		}
	}
}

func TestAURLMustAnswerWell(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	mux.HandleFunc("/once", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := httptest.NewServer(mux)
	defer s.Close()
	d := patientAlarms(t)
	short := newAlarmDesk(quiet())
	defer short.close()
	short.timeout = 100 * time.Millisecond
	for path, want := range map[string]string{"/ok": "", "/once": "", "/bad": "found 500", "/round": "redirects", "/slow": "deadline"} {
		desk := d
		if path == "/slow" {
			desk = short
		}
		err := desk.ask(t.Context(), catalog.Alarm{Name: "a", URL: s.URL + path})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: expected %q, found %v", path, want, err)
		}
	}
	if d.ask(t.Context(), catalog.Alarm{Name: "a", URL: "http://127.0.0.1:1/"}) == nil {
		t.Error("nobody answers, and the alarm is good")
	}
}

func TestAnAlarmFailsADrillAfterThreeFailuresInARow(t *testing.T) {
	var asked atomic.Int64
	var dead atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n := asked.Add(1); dead.Load() || n%3 != 0 { // two failures in a row at most, at first
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	d := patientAlarms(t)
	d.every = time.Millisecond
	alarms := map[string][]catalog.Alarm{"d": {{Name: "health", URL: s.URL}}}
	d.watch(t.Context(), alarms)
	eventually(t, patience, "it was asked often", func() bool { return asked.Load() > 30 })
	if why := d.failing("d"); why != "" {
		t.Fatalf("single failures ended it: %s", why)
	}
	dead.Store(true)
	eventually(t, patience, "the alarm fails", func() bool {
		d.watch(t.Context(), alarms)
		return strings.Contains(d.failing("d"), "alarm health: expected a status from 200 to 299, found 503")
	})
	d.watch(t.Context(), nil)
	if d.failing("d") != "" {
		t.Error("a drill that is over still fails")
	}
}
