//go:build linux

package kube_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/kube/link"
	"github.com/federator/federator/peering/token"
	"github.com/federator/federator/test/controlplane"
)

// noAgent is how a command ends that has reached no agent.
const noAgent = 4

// command is the built program with a kubeconfig.
type command struct {
	t          *testing.T
	kubeconfig string
}

// run runs it, again while somebody is not heard for a moment, and fails the test unless it
// ends with the code.
func (c command) run(code int, input string, args ...string) (out, errOut string) {
	c.t.Helper()
	for began := time.Now(); ; time.Sleep(time.Second) {
		found, out, errOut := c.attempt(c.t.Context(), input, args...)
		if (saysUnheard(errOut) || found == noAgent && code != noAgent) && time.Since(began) < late {
			continue
		}
		if found != code {
			c.t.Fatalf("expected the code %d, found %d", code, found)
		}
		return out, errOut
	}
}

// attempt runs it, and returns how it ended.
func (c command) attempt(ctx context.Context, input string, args ...string) (code int, out, errOut string) {
	c.t.Helper()
	var o, e bytes.Buffer
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(), append(args, "--kubeconfig", c.kubeconfig)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &o, &e
	start := time.Now()
	_ = cmd.Run() // how it ended is in ProcessState
	c.t.Logf("federator %s: %s, code %d\n%s%s", strings.Join(args, " "), time.Since(start).Round(time.Millisecond), cmd.ProcessState.ExitCode(), o.String(), e.String())
	if strings.Contains(e.String(), "UnhandledError") {
		c.t.Error("the lines of a library stand between those of the command")
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// saysUnheard reports whether a command says that somebody was not heard for a moment.
func saysUnheard(errOut string) bool {
	return slices.ContainsFunc(unheard(), func(code string) bool { return strings.Contains(errOut, "("+code+")") })
}

// until runs it until it ends with the code and what it says is right: what replicas find
// out and hear of by and by.
func (c command) until(code int, is func(out, errOut string) bool, args ...string) {
	c.t.Helper()
	must(c.t, controlplane.Until(c.t.Context(), 2*time.Minute, "federator "+strings.Join(args, " ")+" to say what is expected", func(ctx context.Context) error {
		found, out, errOut := c.attempt(ctx, "", args...)
		if found != code || !is(out, errOut) {
			return fmt.Errorf("expected the code %d, found %d\n%s%s", code, found, out, errOut)
		}
		return nil
	}))
}

// impersonating is a kubeconfig in which a context of the user's name leads to us-west.
// A user who may only create pods/exec, and not get it, has no WebSockets before
// Kubernetes 1.35.
func impersonating(t *testing.T, w *controlplane.World, user string) string {
	t.Helper()
	file, err := clientcmd.LoadFromFile(w.Kubeconfig)
	must(t, err)
	as := file.Contexts["us-west"].DeepCopy()
	who := file.AuthInfos[as.AuthInfo].DeepCopy()
	who.Impersonate, as.AuthInfo = user, user
	file.AuthInfos[user], file.Contexts[user] = who, as
	path := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, clientcmd.WriteToFile(*file, path))
	return path
}

// asks has the cluster's own DNS asked until the answer is as expected. What was changed
// there may be read after two minutes only.
func asks(t *testing.T, c *controlplane.Cluster, name, what string, is func(answer string) bool) {
	t.Helper()
	must(t, controlplane.Until(t.Context(), 3*time.Minute, what, func(context.Context) error {
		if found := asked(t, c, name); !is(found) {
			return fmt.Errorf("the cluster's DNS answers %s", found)
		}
		return nil
	}))
}

// asked is what the cluster's own DNS answers: the texts, or the code. It is asked again
// while there is no answer.
func asked(t *testing.T, c *controlplane.Cluster, name string) string {
	t.Helper()
	pods, err := c.Clients.Core.CoreV1().Pods(metav1.NamespaceSystem).List(t.Context(), metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
	must(t, err)
	question := new(dns.Msg)
	question.SetQuestion(name, dns.TypeTXT)
	var answer *dns.Msg
	must(t, controlplane.Until(t.Context(), time.Minute, "the DNS of "+c.Name+" to answer", func(ctx context.Context) (err error) {
		answer, err = dns.ExchangeContext(ctx, question, net.JoinHostPort(pods.Items[0].Status.PodIP, "53"))
		return err
	}))
	for _, r := range answer.Answer {
		if text, ok := r.(*dns.TXT); ok {
			return strings.Join(text.Txt, "")
		}
	}
	return dns.RcodeToString[answer.Rcode]
}

// The image is ours, the node, its kubelet and its DNS are real: what an operator
// types is what runs here.
func TestAnOperatorInstallsAndAsksAClusterThroughItsAPIServer(t *testing.T) {
	world := need(t, controlplane.Options{Clusters: []string{"us-west", "eu-central"}, Nodes: true, DNS: true})
	cluster, dir := world.Cluster("us-west"), t.TempDir()
	image := filepath.Join(dir, "image.tar")
	build := exec.Command("go", "run", "./image", "-arch", "amd64", "-out", image)
	build.Dir = "../../tools"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the image: %v\n%s", err, out)
	}
	for _, each := range world.Clusters {
		must(t, each.Load(t.Context(), image))
	}
	c := command{t, world.Kubeconfig}
	founded(c, dir)

	jo := impersonating(t, world, "jo")
	must(t, grant(t.Context(), cluster, "jo", link.Needs(laptop.DefaultNamespace, link.ToAsk)))
	if out, _ := (command{t, jo}).run(0, "", "status", "--context", "jo"); !strings.Contains(out, "federator-0 of us-west") {
		t.Errorf("found %s", out)
	}

	t.Run("its DNS asks federator, and no longer", func(t *testing.T) { throughItsDNS(command{t, world.Kubeconfig}, cluster) })
	t.Run("two clusters are linked, and parted again", func(t *testing.T) { linkedAndParted(command{t, world.Kubeconfig}) })
}

// founded installs us-west, which founds the federation, and asks it this and that.
func founded(c command, dir string) {
	t, key := c.t, filepath.Join(dir, "recovery.key")
	install := []string{"install", "--context", "us-west", "--trust-domain", "acme.example", "--recovery-key-file", key, "--ephemeral"}
	c.run(0, "", append(install, "--dry-run")...)
	if _, err := os.Stat(key); err == nil {
		t.Error("a dry run made a key")
	}
	if _, errOut := c.run(4, "", "status", "--context", "us-west"); !strings.Contains(errOut, "no pod of federator runs") {
		t.Errorf("found %s", errOut)
	}
	if out, _ := c.run(3, "", "check", "--context", "us-west"); !strings.Contains(out, "(not-installed)") {
		t.Errorf("found %s", out)
	}
	out, _ := c.run(0, "", install...)
	if !strings.Contains(out, "us-west runs as region us-west of acme.example") {
		t.Errorf("found %s", out)
	}
	c.run(0, "", install...)
	if out, _ := c.run(0, "", "install", "--context", "us-west"); !strings.Contains(out, "us-west runs as region us-west of acme.example") {
		t.Errorf("what was not said is not as it is installed: %s", out)
	}
	other := filepath.Join(dir, "other.key")
	if _, errOut := c.run(1, "", "install", "--context", "us-west", "--trust-domain", "acme.example", "--recovery-key-file", other); !strings.Contains(errOut, "found no such file") {
		t.Errorf("found %s", errOut)
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("a second recovery key was made, which is good for nothing")
	}
	if _, errOut := c.run(1, "", "install", "--context", "us-west", "--region", "mars"); !strings.Contains(errOut, "cannot become region mars") {
		t.Errorf("found %s", errOut)
	}

	if out, _ := c.run(0, "", "status", "--context", "us-west"); !strings.Contains(out, "federator-0 of us-west, cluster us-west") {
		t.Errorf("found %s", out)
	}
	c.run(0, "kind: Policy\nname: default\nspec: {regionOrder: [us-west]}\n", "policy", "apply", "-f", "-", "--context", "us-west")
	backup := filepath.Join(dir, "backup")
	c.run(0, "", "backup", backup, "--context", "us-west")
	if info, err := os.Stat(backup); err != nil || info.Size() == 0 {
		t.Errorf("the backup: %v", err)
	}
	c.until(0, func(out, _ string) bool { return strings.Contains(out, "INFO: context us-west (dns-zone)") }, "check", "--context", "us-west")
}

// throughItsDNS puts the zone into the DNS of us-west, and takes it out again.
func throughItsDNS(c command, cluster *controlplane.Cluster) {
	t := c.t
	system := cluster.Clients.Core.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	before, err := system.Get(t.Context(), "coredns", metav1.GetOptions{})
	must(t, err)
	const name = "dns-version.clusterset.local."
	if found := asked(t, cluster, name); found == "1.0.0" {
		t.Fatal("the zone is there already")
	}
	if _, errOut := c.run(1, "n\n", "dns", "install", "--context", "us-west"); !strings.Contains(errOut, "nothing was changed") {
		t.Errorf("found %s", errOut)
	}
	if out, _ := c.run(0, "y\n", "dns", "install", "--context", "us-west"); !strings.Contains(out, "+ clusterset.local:53 {") || !strings.Contains(out, "read by the DNS of us-west") && !strings.Contains(out, "changed; "+link.ErrUnseen.Error()) {
		t.Errorf("found %s", out)
	}
	asks(t, cluster, name, "the zone to be there", func(answer string) bool { return answer == "1.0.0" })
	if out, _ := c.run(0, "", "dns", "install", "--context", "us-west"); !strings.Contains(out, "that way already") {
		t.Errorf("found %s", out)
	}
	c.run(0, "", "dns", "remove", "--context", "us-west", "--yes")
	after, err := system.Get(t.Context(), "coredns", metav1.GetOptions{})
	must(t, err)
	if after.Data["Corefile"] != before.Data["Corefile"] {
		t.Errorf("expected\n%s\nfound\n%s", before.Data["Corefile"], after.Data["Corefile"])
	}
	asks(t, cluster, name, "the zone not to be there", func(answer string) bool { return answer != "1.0.0" })
}

// linkedAndParted joins a second cluster to the first one's federation, and takes it
// out again.
func linkedAndParted(c command) {
	t := c.t
	both := []string{"--context", "eu-central", "--to", "us-west"}
	join := append([]string{"join", "--install", "--replicas", "1", "--ephemeral"}, both...)
	if _, errOut := c.run(1, "", append([]string{"join"}, both...)...); !strings.Contains(errOut, "federator install --context eu-central --region REGION") {
		t.Errorf("found %s", errOut)
	}
	if out, _ := c.run(0, "", append(join, "--dry-run")...); strings.Count(out, "would ") != 4 {
		t.Errorf("found %s", out)
	}
	if out, errOut := c.run(0, "", join...); !strings.Contains(out, "is linked with us-west (region us-west) in acme.example") || strings.Contains(out+errOut, token.Prefix) {
		t.Errorf("found %s%s", out, errOut)
	}
	c.until(0, func(out, _ string) bool { return strings.Contains(out, "was linked already") }, append([]string{"join"}, both...)...)
	c.until(3, func(out, _ string) bool {
		return !strings.Contains(out, "ERROR") && strings.Contains(out, "context eu-central: region eu-central (few-replicas)")
	}, "check", "--context", "us-west", "--context", "eu-central")
	services := "services:\n  - name: shop/till\n    ports: [{port: 80}]\n    endpoints: [{address: 10.9.9.9}]\n"
	c.run(0, services, "services", "apply", "-f", "-", "--context", "eu-central")

	part := []string{"unlink", "--context", "eu-central", "--from", "us-west", "--uninstall", "--drain", "2s"}
	c.until(0, func(out, errOut string) bool {
		return strings.Contains(out, "would evacuate region eu-central") && strings.Contains(errOut, "1 are served there only: shop/till")
	}, append(part, "--dry-run")...)
	if out, _ := c.run(0, "", append(part, "--dry-run", "-o", "json")...); !json.Valid([]byte(out)) || !strings.Contains(out, `"done": false`) {
		t.Errorf("expected JSON and nothing else, found %s", out)
	}
	if _, errOut := c.run(1, "\n", part...); !strings.Contains(errOut, "nothing was changed") {
		t.Errorf("found %s", errOut)
	}
	c.run(0, "", append(part, "--yes")...)
	c.until(0, func(out, _ string) bool { return strings.Contains(out, "nothing is to be done") }, append(part, "--yes")...)
	c.until(0, func(out, _ string) bool { return !strings.Contains(out, "eu-central") }, "evacuate", "--context", "us-west") // its evacuation is over, too
}
