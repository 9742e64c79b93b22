package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
)

func TestDrillCommandsPrintWhatTheAgentSays(t *testing.T) {
	for _, tc := range []struct {
		golden, command string
		code            int
	}{
		{"drill-plan", "drill plan --evacuate us-west", exitProblems},
		{"drill-plan-json", "drill plan --evacuate us-west/a -o json", exitProblems},
		{"drill-start", "drill start --evacuate us-west", exitOK},
		{"drill-follow", "drill start --evacuate us-west --wait", exitOK},
		{"drill-stop", "drill stop --reason enough", exitOK},
		{"drill-extend", "drill extend us-west-1 --by 30s", exitOK},
		{"drill-list", "drill list", exitOK},
		{"drill-status", "drill status", exitOK},
		{"drill-report", "drill report -o html", exitOK},
		{"drill-gate-create", "drill gate create till --operators bo,ada", exitOK},
		{"drill-gate-open", "drill gate open till --for 1h", exitOK},
		{"drill-gate-close", "drill gate close till", exitOK},
		{"drill-gate-list", "drill gate list", exitOK},
		{"drill-gate-delete", "drill gate delete till", exitOK},
		{"drill-schedule-list", "drill schedule list", exitOK},
		{"drill-schedule-run", "drill schedule run tuesdays", exitOK},
		{"drill-schedule-delete", "drill schedule delete tuesdays", exitOK},
	} {
		t.Run(tc.golden, func(t *testing.T) {
			out, errOut, code := cli(t, "", append(strings.Fields(tc.command), "--socket", serve(t, &fakeAgent{}))...)
			if code != tc.code || errOut != "" {
				t.Errorf("exit code %d, stderr %q", code, errOut)
			}
			golden(t, tc.golden, out)
		})
	}
}

func TestADrillIsFollowedToItsEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		agent *fakeAgent
		code  int
		want  string
	}{
		"it goes well":             {&fakeAgent{}, exitOK, "objective: passed"},
		"it is aborted":            {&fakeAgent{aborts: true}, exitFailed, "ended: aborted, alarm door: 503"},
		"it misses its objective":  {&fakeAgent{missed: true}, exitProblems, "objective: failed"},
		"an agent that restarts":   {&fakeAgent{flaky: true}, exitOK, "objective: passed"},
		"an agent that stays away": {nil, exitUnreachable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			if tt.agent != nil {
				socket = serve(t, tt.agent)
			}
			out, errOut, code := cli(t, "", "drill", "start", "--evacuate", "us-west", "--wait", "--socket", socket)
			if code != tt.code || !strings.Contains(out, tt.want) {
				t.Errorf("exit code %d, %s%s", code, out, errOut)
			}
		})
	}
}

func TestADrillThatIsFollowedAsJSONIsOneValue(t *testing.T) {
	out, _, code := cli(t, "", "drill", "start", "--evacuate", "us-west", "--wait", "-o", "json", "--socket", serve(t, &fakeAgent{}))
	var d map[string]any
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != exitOK || d["outcome"] != "succeeded" {
		t.Errorf("exit code %d, %v\n%s", code, err, out)
	}
}

func TestTheFlagsOfADrillMakeADrill(t *testing.T) {
	agent := &fakeAgent{}
	_, errOut, code := cli(t, "", "drill", "start", "--evacuate", "us-west/a", "--service", "shop/checkout", "--id", "d1", "--ramp", "10s", "--hold", "30s", "--return", "5s",
		"--objective", "2s", "--alarm-url", "door=https://x/y?a=b", "--alarm-query", "errors=rate(e[1m]) == 1", "--alarm-prometheus", "http://p:9090",
		"--alarm-min", "errors=-1", "--alarm-max", "errors=0.5", "--reason", "why", "--force", "--socket", serve(t, agent))
	if code != exitOK {
		t.Fatal(errOut)
	}
	low, high := -1.0, 0.5
	want, err := json.Marshal(catalog.Drill{
		ID: "d1", Kind: catalog.DrillEvacuate, Reason: "why", Forced: true, Objective: catalog.Duration(2 * time.Second),
		Scope: catalog.Scope{Region: "us-west", Zone: "a", Service: catalog.ServiceName{Namespace: "shop", Name: "checkout"}},
		Shape: catalog.Shape{Ramp: catalog.Duration(10 * time.Second), Hold: catalog.Duration(30 * time.Second), Return: catalog.Duration(5 * time.Second)},
		Alarms: []catalog.Alarm{{Name: "door", URL: "https://x/y?a=b"},
			{Name: "errors", Query: "rate(e[1m]) == 1", Prometheus: "http://p:9090", Min: &low, Max: &high}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(agent.started) != 1 || agent.started[0] != string(want) {
		t.Errorf("got %v, want %s", agent.started, want)
	}
	if _, errOut, code = cli(t, "", "drill", "start", "--isolate", "us-west", "--hold", "1m", "--socket", serve(t, agent)); code != exitOK {
		t.Fatal(errOut)
	}
	var d catalog.Drill
	if err := json.Unmarshal([]byte(agent.started[1]), &d); err != nil || d.Kind != catalog.DrillIsolate || d.Shape != (catalog.Shape{Hold: catalog.Duration(time.Minute)}) || d.Objective != 0 {
		t.Errorf("%v: an isolation has neither ramp nor return nor objective: %s", err, agent.started[1])
	}
}

func TestMistakenDrillsAreUsageErrors(t *testing.T) {
	for command, want := range map[string]string{
		"drill start": "what is to be taken away?",
		"drill plan --evacuate us-west --isolate us-west":                               "what is to be taken away?",
		"drill plan --evacuate US":                                                      "expected a DNS label",
		"drill plan --evacuate us-west/a --cluster west-1":                              "found both",
		"drill plan --evacuate us-west --service checkout":                              "expected NAMESPACE/NAME",
		"drill start --isolate us-west --service a/b":                                   "leave --cluster and --service out",
		"drill start --isolate us-west --ramp 1m":                                       "leave --ramp out",
		"drill start --evacuate us-west --alarm-url door":                               "expected NAME=URL",
		"drill start --evacuate us-west --alarm-url door=ftp://x":                       "expected an http or https URL",
		"drill start --evacuate us-west --alarm-query q":                                "expected NAME=PROMQL",
		"drill start --evacuate us-west --alarm-max q=1":                                "expected the name of an --alarm-query",
		"drill start --evacuate us-west --alarm-query q=up --alarm-max q=much":          "expected NAME=NUMBER",
		"drill start --evacuate us-west --alarm-query q=up --alarm-prometheus http://p": "expected min, max or both",
		"drill extend d1":        "--by is missing",
		"drill gate open till":   "--for is missing",
		"drill gate create till": "--operators is missing",
		"drill report -o pdf":    "expected text or json or html",
		"drill status -o html":   "expected text or json",
		"drill schedule apply":   "--file is missing",
		"drill bogus":            `unknown command "bogus"`,
	} {
		if _, errOut, code := cli(t, "", strings.Fields(command)...); code != exitUsage || !strings.Contains(errOut, want) {
			t.Errorf("%s: exit code %d, stderr %q; want %q", command, code, errOut, want)
		}
	}
}

func TestASafePlanIsNoProblem(t *testing.T) {
	out, errOut, code := cli(t, "", "drill", "plan", "--evacuate", "us-west", "--socket", serve(t, &fakeAgent{healthy: true}))
	if code != exitOK || !strings.Contains(out, "SAFE: nothing blocks it") {
		t.Errorf("exit code %d, %s%s", code, out, errOut)
	}
}

func TestAReportIsWrittenToAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.html")
	out, errOut, code := cli(t, "", "drill", "report", "d1", "-o", "html", "--file", path, "--socket", serve(t, &fakeAgent{}))
	if b, err := os.ReadFile(path); err != nil || string(b) != "the report as html\n" || code != exitOK || out != "" || !strings.Contains(errOut, "(passed) is in "+path) {
		t.Errorf("exit code %d, %v, %q, stderr %q", code, err, b, errOut)
	}
}

const schedules = `kind: DrillSchedule
name: tuesdays
spec: {days: [tue], at: ["10:00"], kind: evacuate, scope: {region: us-west}, shape: {hold: 1m}}
---
kind: DrillSchedule
name: refused
spec: {at: ["10:00"], kind: evacuate, scope: {region: us-west}, shape: {hold: 1m}}
`

func TestScheduleApplyReportsWhatWasWrittenBeforeAFailure(t *testing.T) {
	socket := serve(t, &fakeAgent{})
	out, errOut, code := cli(t, schedules, "drill", "schedule", "apply", "-f", "-", "--socket", socket)
	if want := "schedule tuesdays created\n  warning: it could not run\n"; code != exitFailed || out != want || !strings.Contains(errOut, "schedule refused: expected the role operator") {
		t.Errorf("exit code %d, %q, stderr %q", code, out, errOut)
	}
	if _, errOut, code = cli(t, strings.Replace(schedules, "10:00", "25:00", 1), "drill", "schedule", "apply", "-f", "-", "--socket", socket); code != exitFailed || !strings.Contains(errOut, "line 1") {
		t.Errorf("exit code %d, stderr %q", code, errOut)
	}
}
