package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/federator/federator/test/leaks"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { leaks.Main(m) }

// cli runs a command line and returns what it printed and its exit code.
func cli(t *testing.T, stdin string, args ...string) (out, errOut string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, func(string) string { return "" }, stdio{strings.NewReader(stdin), &o, &e})
	return o.String(), e.String(), code
}

func TestCommandsPrintWhatTheAgentSays(t *testing.T) {
	socket := serve(t, &fakeAgent{})
	tests := []struct{ golden, command string }{
		{"status", "status"},
		{"check", "check"},
		{"members", "members"},
		{"services", "services -n shop"},
		{"endpoints", "endpoints shop/checkout"},
		{"resolve", "resolve shop/checkout --from us-west/a"},
		{"audit", "audit --since 1h"},
		{"policy-get", "policy get default"},
		{"policy-get-json", "policy get default -o json"},
		{"evacuate", "evacuate us-west --for 10m --reason power --force"},
		{"evacuations", "evacuate"},
		{"evacuate-stop", "evacuate us-west --stop"},
		{"token-create", "token create"},
		{"token-create-json", "token create -o json"},
		{"token-list", "token list"},
		{"leave", "leave us-west-1"},
		{"keyring", "keyring status"},
		{"help", "help"},
	}
	for _, tc := range tests {
		t.Run(tc.golden, func(t *testing.T) {
			got, errOut, _ := cli(t, "", append(strings.Fields(tc.command), "--socket", socket)...)
			if errOut != "" {
				t.Errorf("stderr: %s", errOut)
			}
			golden(t, tc.golden, got)
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if strings.Contains(name, "json") {
		// protojson varies its blanks on purpose, which indenting removes.
		var v any
		if err := json.Unmarshal([]byte(got), &v); err != nil {
			t.Fatalf("not JSON: %v", err)
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEveryAnswerIsAlsoJSON(t *testing.T) {
	socket := serve(t, &fakeAgent{})
	for _, command := range []string{
		"status", "check", "members", "services", "endpoints shop/checkout", "resolve a/b", "audit", "evacuate",
		"evacuate r --stop", "token list", "leave", "keyring status", "version",
	} {
		out, errOut, _ := cli(t, "", append(strings.Fields(command), "--socket", socket, "-o", "json")...)
		var v map[string]any
		if err := json.Unmarshal([]byte(out), &v); err != nil || errOut != "" {
			t.Errorf("%s: %v\n%s%s", command, err, out, errOut)
		}
	}
}

func TestExitCodesSayWhatHappened(t *testing.T) {
	sick, well := serve(t, &fakeAgent{}), serve(t, &fakeAgent{healthy: true})
	nobody := filepath.Join(t.TempDir(), "s")
	tests := []struct {
		command, socket string
		code            int
		want            string
	}{
		{"check", well, exitOK, ""},
		{"endpoints a/b", sick, exitFailed, "federator: no service a/b; see federator services\n"},
		{"token revoke 1", sick, exitFailed, "runs another version"},
		{"bogus", sick, exitUsage, `unknown command "bogus"`},
		{"token bogus", sick, exitUsage, `unknown command "bogus"`},
		{"endpoints", sick, exitUsage, "accepts 1 arg(s), received 0; see federator endpoints --help"},
		{"status --bogus", sick, exitUsage, "unknown flag: --bogus; see federator status --help"},
		{"status -o xml", sick, exitUsage, "expected text or json"},
		{"evacuate", well, exitOK, ""},
		{"evacuate us-west", well, exitUsage, "for how long"},
		{"evacuate us-west --for 25h", well, exitUsage, "an evacuation lasts 1s to 24h"},
		{"evacuate --stop", well, exitUsage, "which REGION"},
		{"evacuate us-west --stop --for 1m", well, exitUsage, "exclude each other"},
		{"evacuate us-west --stop --force", well, exitUsage, "exclude each other"},
		{"evacuate --force", well, exitUsage, "which REGION?"},
		{"policy apply", sick, exitUsage, "--file is missing"},
		{"status --address x:1", sick, exitUsage, "--address needs --identity"},
		{"status --identity x", sick, exitUsage, "--identity needs --address"},
		{"status --address x:1 --identity /nowhere", sick, exitFailed, "holds no operator's certificate"},
		{"join", well, exitUsage, "accepts 1 arg"},
		{"join x", well, exitUsage, "--region is missing"},
		{"init", well, exitUsage, "--trust-domain is missing"},
		{"agent --data-dir x --zone-name A_B --log-level loud", well, exitUsage, "log.level"},
		{"check", sick, exitProblems, ""},
		{"status", nobody, exitUnreachable, "no agent answers on socket"},
	}
	for _, tc := range tests {
		t.Run(tc.command, func(t *testing.T) {
			_, errOut, code := cli(t, "", append(strings.Fields(tc.command), "--socket", tc.socket)...)
			if code != tc.code || !strings.Contains(errOut, tc.want) || tc.want == "" && errOut != "" {
				t.Errorf("exit code %d, stderr %q; want %d, %q", code, errOut, tc.code, tc.want)
			}
		})
	}
}

const policies = `kind: Policy
name: shop/checkout
spec: {regionOrder: [us-west]}
---
kind: Policy
name: shop/refused
spec: {regionOrder: [us-west]}
`

func TestPolicyApplyReportsWhatWasWrittenBeforeAFailure(t *testing.T) {
	agent := &fakeAgent{}
	out, errOut, code := cli(t, policies, "policy", "apply", "-f", "-", "--socket", serve(t, agent))
	if code != exitFailed || !strings.Contains(errOut, "policy shop/refused: expected the role operator") {
		t.Errorf("exit code %d, stderr %q", code, errOut)
	}
	if want := "policy shop/checkout created\n  warning: region mars is not known\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	if len(agent.applied) != 1 || string(agent.applied[0].GetSpec()) != `{"regionOrder":["us-west"]}` {
		t.Errorf("the agent was sent %v", agent.applied)
	}
}

func TestABadPolicyFileChangesNothing(t *testing.T) {
	agent := &fakeAgent{}
	_, errOut, code := cli(t, policies+"---\nkind: Policy\nname: x/y\nspec: {bogus: 1}\n", "policy", "apply", "-f", "-", "--socket", serve(t, agent))
	if code != exitFailed || !strings.Contains(errOut, "bogus") || len(agent.applied) != 0 {
		t.Errorf("exit code %d, stderr %q, applied %v", code, errOut, agent.applied)
	}
}

func TestWhatTheAgentFindsWrongInAFileIsNoMistakeInTheCommandLine(t *testing.T) {
	document := "kind: Policy\nname: shop/invalid\nspec: {regionOrder: [us-west]}\n"
	_, errOut, code := cli(t, document, "policy", "apply", "-f", "-", "--socket", serve(t, &fakeAgent{}))
	if code != exitFailed || !strings.Contains(errOut, "shop/invalid: the agent knows better") {
		t.Errorf("exit code %d, stderr %q", code, errOut)
	}
}

func TestABackupIsKeptOnlyIfItIsComplete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup")
	if _, errOut, code := cli(t, "", "backup", path, "--socket", serve(t, &fakeAgent{cut: true})); code != exitFailed || !strings.Contains(errOut, "cut short") {
		t.Errorf("exit code %d, stderr %q", code, errOut)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("half a backup was kept: %v", err)
	}
	socket := serve(t, &fakeAgent{})
	if out, errOut, code := cli(t, "", "backup", path, "--socket", socket); code != exitOK {
		t.Errorf("exit code %d, %s%s", code, out, errOut)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "archive" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, errOut, code := cli(t, "", "backup", path, "--socket", socket); code != exitFailed || !strings.Contains(errOut, "exists") {
		t.Errorf("an existing file was overwritten: exit code %d, %s", code, errOut)
	}
}

func TestFlagsOverrideTheConfigFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("dataDir: /data\nzone: one.local\nlog: {level: warn}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errOut, code := cli(t, "", "agent", "--config", file, "--zone-name", "two.local", "--dns", "127.0.0.1:53", "--print-config")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	for _, want := range []string{"dataDir: /data\n", "zone: two.local\n", "level: warn\n", "- 127.0.0.1:53\n", "socket: /data/federator.sock\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

func TestTheSocketIsFoundByEnvironment(t *testing.T) {
	for _, tc := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{}, "/var/lib/federator/federator.sock"},
		{map[string]string{"FEDERATOR_DATA_DIR": "/d"}, "/d/federator.sock"},
		{map[string]string{"FEDERATOR_DATA_DIR": "/d", "FEDERATOR_SOCKET": "/s"}, "/s"},
	} {
		if got := defaultSocket(func(k string) string { return tc.env[k] }); got != tc.want {
			t.Errorf("%v: got %s, want %s", tc.env, got, tc.want)
		}
	}
}
