package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kubeconfig is a file with two contexts, of API servers that nobody listens at.
func kubeconfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{apiVersion: v1, kind: Config, current-context: us-west, users: [{name: u, user: {token: very-secret}}],
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}], contexts: [{name: us-west, context: {cluster: c, user: u}}, {name: EU, context: {cluster: c, user: u}}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsOfClustersAndOfMachinesAreToldApart(t *testing.T) {
	config := kubeconfig(t)
	for _, test := range []struct {
		command string
		code    int
		want    string
	}{
		{"join x --context us-west --to EU", exitUsage, "expected one of the two"},
		{"join --context us-west", exitUsage, "--to is missing"},
		{"join x --to EU", exitUsage, "--to is for joining a Kubernetes cluster: --context is missing"},
		{"join --context us-west --context EU --to us-west", exitUsage, "expected one --context, found 2"},
		{"join --context us-west --to EU --data-dir x", exitUsage, "--data-dir is for a replica on this machine"},
		{"join --context us-west --to EU --image x", exitUsage, "--install is missing"},
		{"join --context us-west --to mars", exitUsage, `no context "mars"; it has EU, us-west`},
		{"join --context EU --to us-west --install", exitUsage, `the context's name "EU" cannot be a region's`},
		{"join --context us-west --to EU --install", exitFailed, "2 thing(s) in the way; nothing was changed"},
		{"init --context us-west", exitUsage, "federator init works on this machine"},
		{"region recover --context us-west", exitUsage, "works on this machine"},
		{"status --context us-west --address x:1", exitUsage, "three ways to reach an agent"},
		{"status --context us-west --context EU", exitUsage, "only check takes several"},
		{"status", exitUsage, "--kubeconfig needs --context"},
		{"status --context us-west", exitUnreachable, "127.0.0.1:1"},
		{"check --context us-west --context EU", exitProblems, ""},
		{"install", exitUsage, "--kubeconfig needs --context"},
		{"install --context us-west --trust-domain a.example", exitUsage, "--recovery-key-file FILE"},
		{"install --context us-west --recovery-key-file f", exitUsage, "--trust-domain is missing"},
		{"install --context us-west --expose somehow", exitUsage, "loadbalancer"},
		{"install --context us-west", exitFailed, "(api-unreachable)"},
		{"unlink --from us-west", exitUsage, "--kubeconfig needs --context"},
		{"unlink --context us-west", exitUsage, "--from is missing"},
		{"unlink --context us-west --from EU", exitFailed, "say --region"},
		{"unlink --context us-west --region us-west --from EU", exitFailed, "federator unlink --region us-west --from EU"},
		{"export checkout --context us-west", exitUsage, "--namespace is missing"},
		{"export checkout -n shop --context us-west", exitFailed, "127.0.0.1:1"},
		{"dns install --context us-west", exitFailed, "the cluster's DNS cannot be looked at"},
		{"dns remove --context us-west", exitFailed, "the cluster's DNS cannot be looked at"},
		{"dial-stdio --context us-west", exitUsage, "works on this machine"},
	} {
		out, errOut, code := cli(t, "", append(strings.Fields(test.command), "--kubeconfig", config)...)
		if code != test.code || !strings.Contains(errOut, test.want) {
			t.Errorf("%s: expected %d, %q, found %d, %q", test.command, test.code, test.want, code, errOut)
		}
		if strings.Contains(out+errOut, "very-secret") {
			t.Errorf("%s: it tells a secret: %s%s", test.command, out, errOut)
		}
	}
	for want, args := range map[string][]string{
		"--context is missing: the cluster to install in":    {"install"},
		"--context is missing: the cluster that leaves":      {"unlink", "--from", "us-west"},
		"--context is missing: the cluster whose DNS":        {"dns", "install"},
		"--context is missing: the cluster that the Service": {"export", "x", "-n", "y"},
	} {
		if _, errOut, code := cli(t, "", args...); code != exitUsage || !strings.Contains(errOut, want) {
			t.Errorf("%v: expected %q, found %d, %q", args, want, code, errOut)
		}
	}
}

func TestTheFarEndOfATunnelSaysThatNoAgentAnswers(t *testing.T) {
	_, errOut, code := cli(t, "", "dial-stdio", "--socket", filepath.Join(t.TempDir(), "s"))
	if code != exitUnreachable || !strings.Contains(errOut, "no agent answers on socket") {
		t.Errorf("found %d, %q", code, errOut)
	}
}

func TestARecoveryKeyOfAnEarlierTryIsTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recovery.key")
	if made, err := recipientOf(path, true); err != nil || !strings.HasPrefix(made, "to be") {
		t.Errorf("a dry run: %q, %v", made, err)
	}
	made, err := recipientOf(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := recipientOf(path, false); err != nil || again != made || !strings.HasPrefix(made, "age1") {
		t.Errorf("expected %q, found %q, %v", made, again, err)
	}
	if err := os.WriteFile(path, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := recipientOf(path, false); err == nil || !strings.Contains(err.Error(), "expected a key of federator recovery-key") || strings.Contains(err.Error(), "something else") {
		t.Errorf("found %v", err)
	}
}
