package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/federator/federator/deploy"
	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/kube/link"
	"github.com/federator/federator/peering/pb"
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
		{"install --context us-west --trust-domain Acme_Corp --recovery-key-file f", exitUsage, "--trust-domain: "},
		{"install --context us-west --trust-domain acme.example --recovery-recipient age1", exitUsage, "--recovery-recipient: "},
		{"install --context us-west --replicas 0", exitUsage, "kubectl --context us-west -n federator-system scale statefulset federator --replicas=0"},
		{"install --context us-west", exitFailed, "(api-unreachable)"},
		{"unlink --from us-west", exitUsage, "--kubeconfig needs --context"},
		{"unlink --region eu-central --from us-west", exitFailed, "(api-unreachable)"},
		{"unlink --region eu-central", exitUsage, "--from is missing"},
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
	if none, err := recipientIn(path); err != nil || none != "" {
		t.Errorf("there is no key: %q, %v", none, err)
	}
	made, err := saveRecoveryKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := recipientIn(path); err != nil || again != made || !strings.HasPrefix(made, "age1") {
		t.Errorf("expected %q, found %q, %v", made, again, err)
	}
	if err := os.WriteFile(path, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := recipientIn(path); err == nil || !strings.Contains(err.Error(), "expected a key of federator recovery-key") || strings.Contains(err.Error(), "something else") {
		t.Errorf("found %v", err)
	}
}

func TestInstallingAgainChangesWhatIsSaidAndNothingElse(t *testing.T) {
	is := &link.Facts{
		Installed: true, Region: "us-west", Cluster: "west-1", Image: "registry.example/federator:1", Expose: "hostport", StorageClass: "fast", Replicas: 5, Monitored: true,
	}
	defaults := deploy.Values{Image: "federator.dev/federator:dev", Expose: "pod", Replicas: 3}
	nothing := func(string) bool { return false }
	want := deploy.Values{Region: "us-west", Cluster: "west-1", Image: "registry.example/federator:1", Expose: "hostport", StorageClass: "fast", Replicas: 5, ServiceMonitor: true}
	if found := asInstalled(defaults, is, nothing); found != want {
		t.Errorf("nothing was said: expected %+v, found %+v", want, found)
	}
	if found := asInstalled(defaults, &link.Facts{}, nothing); found != defaults {
		t.Errorf("nothing is installed: found %+v", found)
	}
	paused := &link.Facts{Installed: true, Ephemeral: true}
	if found := asInstalled(defaults, paused, nothing); !found.Paused || !found.Ephemeral || found.Image != defaults.Image {
		t.Errorf("it is paused: found %+v", found)
	}
	if found := asInstalled(defaults, paused, func(flag string) bool { return flag == "replicas" }); found.Paused || found.Replicas != 3 {
		t.Errorf("it is paused, and to be started: found %+v", found)
	}
	said := deploy.Values{Region: "a", Cluster: "b", Image: "c", Expose: "pod", StorageClass: "d", Replicas: 1, Ephemeral: true}
	if found := asInstalled(said, is, func(string) bool { return true }); found != said {
		t.Errorf("all was said: found %+v", found)
	}
}

func TestWhatIsSaidIsJSONForPrograms(t *testing.T) {
	for output, want := range map[string][2]string{
		"text": {"would do it\nthe end\n", ""},
		"json": {"{\n  \"context\": \"us-west\",\n  \"steps\": [\n    \"do it\"\n  ],\n  \"done\": true\n}\n", "would do it\n"},
	} {
		var out, errOut bytes.Buffer
		a := &app{stdio: stdio{out: &out, err: &errOut}, output: output}
		a.say("would do it")
		if err := a.conclude(planned{"us-west", []string{"do it"}, true}, "the end"); err != nil {
			t.Error(err)
		}
		if out.String() != want[0] || errOut.String() != want[1] {
			t.Errorf("%s: expected %q, found %q and %q", output, want, out.String(), errOut.String())
		}
	}
}

// nowhere is an environment without variables.
func nowhere(string) string { return "" }

func TestAProblemSaysOfWhichClusterItIs(t *testing.T) {
	inside := &pb.Problem{Subject: "region us-west", Action: "kubectl -n fed scale statefulset federator --replicas=3"}
	around := &pb.Problem{Subject: "context west", Action: "kubectl --context west -n fed describe pod federator-0"}
	a := &app{env: nowhere}
	root := a.root()
	a.of(root, "west", inside)
	a.of(root, "west", around)
	if inside.GetSubject() != "context west: region us-west" || inside.GetAction() != "kubectl --context west -n fed scale statefulset federator --replicas=3" {
		t.Errorf("found %v", inside)
	}
	if around.GetSubject() != "context west" || around.GetAction() != "kubectl --context west -n fed describe pod federator-0" {
		t.Errorf("found %v", around)
	}
}

// What a replica says to type would else be done to whatever agent is near.
func TestWhatAReplicaSaysToTypeNamesItsCluster(t *testing.T) {
	for said, want := range map[string]string{
		"if it is gone for good: federator region remove eu-central":                                                    "if it is gone for good: federator region remove @ eu-central",
		"look at it: federator endpoints shop/checkout --region west":                                                   "look at it: federator endpoints @ shop/checkout --region west",
		"to end it now: federator evacuate us-west --stop":                                                              "to end it now: federator evacuate @ us-west --stop",
		"make it: federator drill gate create night --operators NAME":                                                   "make it: federator drill gate create @ night --operators NAME",
		"federator drill schedule apply; or suspend it":                                                                 "federator drill schedule apply @; or suspend it",
		"is the region a member? See federator status; the authority":                                                   "is the region a member? See federator status @; the authority",
		"federator leave, and join anew":                                                                                "federator leave @, and join anew",
		"federator unlink --from CLUSTER --uninstall, then federator join --to CLUSTER --install":                       "federator unlink @ --from CLUSTER --uninstall, then federator join @ --to CLUSTER --install",
		"kubectl -n fed scale statefulset federator --replicas=3; behind load balancers federator install --replicas 3": "kubectl --context west -n fed scale statefulset federator --replicas=3; behind load balancers federator install @ --replicas 3",
		"see who with kubectl get --show-managed-fields":                                                                "see who with kubectl --context west get --show-managed-fields",
		// They work on one machine, are no commands, or name their cluster already.
		"run federator region recover on the one with the newest state":           "run federator region recover on the one with the newest state",
		"apply the manifests of this release (federator manifests)":               "apply the manifests of this release (federator manifests)",
		"see to what the service account of federator may do":                     "see to what the service account of federator may do",
		"see federator drill, which has more of them":                             "see federator drill, which has more of them",
		"federator dns install --context west; kubectl --context west -n fed get": "federator dns install --context west; kubectl --context west -n fed get",
	} {
		for namespace, flags := range map[string]string{laptop.DefaultNamespace: "--context west", "fed": "--context west --federator-namespace fed"} {
			a, p := &app{env: nowhere}, &pb.Problem{Action: said}
			root := a.root()
			a.reach.namespace = namespace
			a.of(root, "west", p)
			if want := strings.ReplaceAll(want, "@", flags); p.GetAction() != want {
				t.Errorf("expected %q, found %q", want, p.GetAction())
			}
		}
	}
}

func TestWhatWasPausedStaysSoAndItIsSaidHowItIsStarted(t *testing.T) {
	for output, want := range map[string][]string{
		"text": {"us-west is installed as region us-west, and paused", "federator install --context us-west --federator-namespace fed --replicas 3", "federator unlink --context us-west --federator-namespace fed --from CLUSTER --uninstall"},
		"json": {`"paused": true`},
	} {
		var out bytes.Buffer
		a := &app{stdio: stdio{out: &out}, output: output}
		err := a.printInstalled(&laptop.Cluster{Context: "us-west", Namespace: "fed"}, deploy.Values{Region: "us-west", Paused: true}, installFlags{}, link.Facts{Installed: true})
		for _, w := range want {
			if err != nil || !strings.Contains(out.String(), w) || strings.Contains(out.String(), "waits to be let in") {
				t.Errorf("%s: expected %q, found %q, %v", output, w, out.String(), err)
			}
		}
	}
}
