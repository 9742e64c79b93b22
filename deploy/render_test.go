package deploy

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/mcs-api/config/crd"
	"sigs.k8s.io/yaml"

	"github.com/federator/federator/federation"
)

// parse returns the objects of a stream of YAML by kind and name.
func parse(t *testing.T, text []byte) map[string]object {
	t.Helper()
	out := map[string]object{}
	for part := range bytes.SplitSeq(append([]byte("\n"), text...), []byte("\n---\n")) {
		o := object{}
		if err := yaml.Unmarshal(part, &o); err != nil {
			t.Fatal(err)
		}
		key := kindOf(o) + "/" + nameOf(o)
		if out[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		out[key] = o
	}
	return out
}

// rendered are the objects for the values.
func rendered(t *testing.T, v Values) map[string]object {
	t.Helper()
	text, err := Render(v)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, text)
}

// kustomize returns what kustomize builds of a folder.
func kustomize(t *testing.T, dir string) map[string]object {
	t.Helper()
	cmd := exec.Command("go", "tool", "-modfile=../tools/go.mod", "kustomize", "build", dir)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("kustomize build %s: %v\n%s", dir, err, errOut.String())
	}
	return parse(t, out.Bytes())
}

func TestManifestsAreWhatKustomizeBuildsOfTheFolders(t *testing.T) {
	for _, region := range []string{"us-west", "eu-central", "asia-east"} {
		if diff := cmp.Diff(kustomize(t, "clusters/"+region), rendered(t, Values{Region: region, Cluster: region})); diff != "" {
			t.Errorf("%s: kustomize (-) and federator manifests (+) differ:\n%s", region, diff)
		}
	}
}

func TestManifestsAreWhatKustomizeBuildsWithComponents(t *testing.T) {
	tree := t.TempDir()
	if err := os.CopyFS(tree, os.DirFS("clusters")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		values     Values
		components []string
		more       string
	}{
		"no-storage": {Values{Ephemeral: true}, []string{"emptydir"}, ""},
		"host-ports": {Values{Expose: "hostport", Replicas: 5}, []string{"hostport"}, "replicas: [{name: federator, count: 5}]\n"},
		"balancers":  {Values{Expose: "loadbalancer", ServiceMonitor: true}, []string{"loadbalancer", "servicemonitor"}, ""},
		"image-elsewhere": {Values{Image: "registry.example/federator:v1", StorageClass: "fast"}, nil,
			"images: [{name: federator.dev/federator, newName: registry.example/federator, newTag: v1}]\npatches:\n- {target: {kind: StatefulSet}, patch: '[{\"op\": \"add\", \"path\": \"/spec/volumeClaimTemplates/0/spec/storageClassName\", \"value\": \"fast\"}]'}\n"},
	} {
		dir := filepath.Join(tree, name)
		text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../us-west]\n" + test.more
		for i, c := range test.components {
			if i == 0 {
				text += "components:\n"
			}
			text += "- ../components/" + c + "\n"
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		test.values.Region, test.values.Cluster = "us-west", "us-west"
		if diff := cmp.Diff(kustomize(t, dir), rendered(t, test.values)); diff != "" {
			t.Errorf("%s: kustomize (-) and federator manifests (+) differ:\n%s", name, diff)
		}
	}
}

// strictly decodes an object into its type and refuses fields that it has not.
func strictly(t *testing.T, o object, into any) {
	t.Helper()
	text, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Errorf("%s %s: %v", kindOf(o), nameOf(o), err)
	}
}

func TestEveryFieldIsOneThatKubernetesHas(t *testing.T) {
	types := map[string]func() any{
		"Namespace": func() any { return &corev1.Namespace{} }, "ServiceAccount": func() any { return &corev1.ServiceAccount{} },
		"ConfigMap": func() any { return &corev1.ConfigMap{} }, "Service": func() any { return &corev1.Service{} },
		"StatefulSet": func() any { return &appsv1.StatefulSet{} }, "PodDisruptionBudget": func() any { return &policyv1.PodDisruptionBudget{} },
		"NetworkPolicy": func() any { return &networkingv1.NetworkPolicy{} },
		"ClusterRole":   func() any { return &rbacv1.ClusterRole{} }, "ClusterRoleBinding": func() any { return &rbacv1.ClusterRoleBinding{} },
		"Role": func() any { return &rbacv1.Role{} }, "RoleBinding": func() any { return &rbacv1.RoleBinding{} },
	}
	for _, expose := range []string{"pod", "hostport", "loadbalancer"} {
		for key, o := range rendered(t, Values{Region: "us-west", Cluster: "west-1", Expose: expose, TrustDomain: "acme.example", RecoveryRecipient: "age1x"}) {
			of, known := types[kindOf(o)]
			if !known {
				t.Errorf("%s: no type is known for it", key)
				continue
			}
			strictly(t, o, of())
		}
	}
}

func TestThePodKeepsToTheRestrictedStandard(t *testing.T) {
	all := rendered(t, Values{Region: "us-west", Cluster: "west-1"})
	var set appsv1.StatefulSet
	strictly(t, all["StatefulSet/federator"], &set)
	pod := set.Spec.Template.Spec
	s := pod.SecurityContext
	if s.RunAsNonRoot == nil || !*s.RunAsNonRoot || *s.RunAsUser != 65532 || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod: expected a user that is not root, and seccomp, found %+v", s)
	}
	if pod.NodeSelector[corev1.LabelOSStable] != "linux" {
		t.Errorf("there is no image for nodes of other systems, found the selector %v", pod.NodeSelector)
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC || len(pod.InitContainers) > 0 {
		t.Error("expected nothing of the host")
	}
	for _, c := range pod.Containers {
		s := c.SecurityContext
		if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" || len(s.Capabilities.Add) > 0 || s.Privileged != nil {
			t.Errorf("container %s: %+v", c.Name, s)
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
			t.Errorf("container %s: expected requests", c.Name)
		}
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				t.Errorf("port %s: expected no host port", p.Name)
			}
		}
	}
	for _, v := range pod.Volumes {
		if v.EmptyDir == nil && v.ConfigMap == nil {
			t.Errorf("volume %s is of a kind that needs thought", v.Name)
		}
	}
}

// agentConfig is the configuration that the manifests give the agent, without defaults.
func agentConfig(t *testing.T) federation.Config {
	t.Helper()
	var config corev1.ConfigMap
	strictly(t, rendered(t, Values{Region: "us-west", Cluster: "west-1"})["ConfigMap/federator"], &config)
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(config.Data["agent.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := federation.LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheAgentsConfigurationIsValid(t *testing.T) {
	c := agentConfig(t)
	c.DataDir = "/var/lib/federator"
	if err := c.WithDefaults().Validate(); err != nil {
		t.Error(err)
	}
}

func TestTheNamespaceIsTheSameEverywhere(t *testing.T) {
	text, err := Render(Values{Region: "us-west", Cluster: "west-1", Namespace: "elsewhere", Expose: "loadbalancer", ServiceMonitor: true, TrustDomain: "acme.example", RecoveryRecipient: "age1x"})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), defaultNamespace) {
		t.Errorf("the manifests of another namespace name %s", defaultNamespace)
	}
	for key, o := range parse(t, text) {
		namespaced := !strings.HasPrefix(key, "Cluster") && !strings.HasPrefix(key, "Namespace")
		if found, _ := at(o, "metadata")["namespace"].(string); (found == "elsewhere") != namespaced {
			t.Errorf("%s: found the namespace %q", key, found)
		}
	}
}

func TestThereIsALoadBalancerForEveryPod(t *testing.T) {
	all := rendered(t, Values{Region: "us-west", Cluster: "west-1", Expose: "loadbalancer", Replicas: 4})
	for _, pod := range []string{"federator-0", "federator-1", "federator-2", "federator-3"} {
		var s corev1.Service
		strictly(t, all["Service/"+pod], &s)
		if s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.Spec.Selector["statefulset.kubernetes.io/pod-name"] != pod {
			t.Errorf("%s: found %+v", pod, s.Spec)
		}
	}
	if all["Service/federator-4"] != nil {
		t.Error("there is one more than there are pods")
	}
}

func TestWhatIsPausedHasNoPodsAndGetsNoLoadBalancers(t *testing.T) {
	all := rendered(t, Values{Region: "us-west", Cluster: "west-1", Expose: "loadbalancer", Replicas: 4, Paused: true})
	var set appsv1.StatefulSet
	strictly(t, all["StatefulSet/federator"], &set)
	if set.Spec.Replicas == nil || *set.Spec.Replicas != 0 {
		t.Errorf("found %v replicas", set.Spec.Replicas)
	}
	if all["Service/federator-0"] != nil || all["Service/federator-dns"] == nil {
		t.Error("expected the Services of the whole, and of no pod")
	}
}

func TestPodsAreMadeAnewWhenTheyAreReachedOtherwise(t *testing.T) {
	seen := map[string]string{}
	for _, expose := range []string{"pod", "hostport", "loadbalancer"} {
		set := rendered(t, Values{Region: "us-west", Cluster: "west-1", Expose: expose})["StatefulSet/federator"]
		text, err := yaml.Marshal(at(set, "spec", "template"))
		if err != nil {
			t.Fatal(err)
		}
		if other := seen[string(text)]; other != "" {
			t.Errorf("the pods of %s and %s are the same: a change does not restart them, and they find out how they are reached when they start", expose, other)
		}
		seen[string(text)] = expose
	}
}

func TestAPodThatEndsAnswersForAWhileAndHasTimeLeftToLeave(t *testing.T) {
	var set appsv1.StatefulSet
	strictly(t, rendered(t, Values{Region: "us-west", Cluster: "west-1"})["StatefulSet/federator"], &set)
	pod := set.Spec.Template.Spec
	for _, c := range pod.Containers {
		if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil || c.Lifecycle.PreStop.Sleep.Seconds < 5 {
			t.Fatalf("container %s: nodes send queries to it when its DNS is closed: expected a sleep before it is told to end, found %+v", c.Name, c.Lifecycle)
		}
		// The sleep counts. Package inpod bounds leaving to 25 s, and package federation to
		// 30 s how long it goes on until the others have agreed that it does not vote.
		if left := *pod.TerminationGracePeriodSeconds - c.Lifecycle.PreStop.Sleep.Seconds; left < 60 {
			t.Errorf("container %s has %d s left to leave its region", c.Name, left)
		}
	}
}

func TestValuesThatCannotWorkAreRefusedAllAtOnce(t *testing.T) {
	_, err := Render(Values{Region: "US West", Cluster: "", Replicas: 99, Expose: "somehow", Ephemeral: true, StorageClass: "fast", TrustDomain: "acme.example"})
	if err == nil {
		t.Fatal("expected an error")
	}
	for _, word := range []string{"region", "cluster", "replicas", "expose", "storage", "recovery-key"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("expected to hear of %s, found %v", word, err)
		}
	}
}

func TestTheCRDsAreThoseOfTheVersionThatTheCodeUses(t *testing.T) {
	for file, want := range map[string][]byte{"serviceexports": crd.ServiceExportCRD, "serviceimports": crd.ServiceImportCRD} {
		found, err := fs.ReadFile(os.DirFS("clusters/crds"), "multicluster.x-k8s.io_"+file+".yaml")
		if err != nil || !bytes.Equal(found, want) {
			t.Errorf("%s: expected the file of sigs.k8s.io/mcs-api in go.mod; copy it from there (%v)", file, err)
		}
	}
	all := kustomize(t, "clusters/crds")
	for _, name := range []string{"serviceexports.multicluster.x-k8s.io", "serviceimports.multicluster.x-k8s.io", "resolutionpolicies.federator.dev", "drills.federator.dev"} {
		if all["CustomResourceDefinition/"+name] == nil {
			t.Errorf("expected the CustomResourceDefinition %s", name)
		}
		delete(all, "CustomResourceDefinition/"+name)
	}
	if len(all) > 0 {
		t.Errorf("expected no more, found %d objects", len(all))
	}
}
