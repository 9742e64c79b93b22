package kube_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/federator/federator/kube"
)

const kubeconfig = `apiVersion: v1
kind: Config
current-context: west
contexts:
- {name: west, context: {cluster: west, user: me}}
- {name: east, context: {cluster: east, user: me}}
clusters:
- {name: west, cluster: {server: "https://10.0.0.1:6443"}}
- {name: east, cluster: {server: "https://10.0.0.2:6443"}}
users:
- {name: me, user: {token: secret}}
`

func TestConnectFindsTheServerOfAContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for context, want := range map[string]string{"": "https://10.0.0.1:6443", "east": "https://10.0.0.2:6443"} {
		config, err := kube.Connect(kube.Access{Kubeconfig: path, Context: context}, "v1.2.3")
		if err != nil {
			t.Fatal(err)
		}
		if config.Host != want || config.UserAgent != "federator/v1.2.3" || config.Timeout <= 0 || config.QPS <= 0 {
			t.Errorf("context %q: host %s, agent %s, timeout %s, qps %v; want host %s and bounds", context, config.Host, config.UserAgent, config.Timeout, config.QPS, want)
		}
	}
}

func TestConnectSaysWhatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for name, access := range map[string]kube.Access{
		"in a pod":                 {},
		"context \"nowhere\"":      {Kubeconfig: path, Context: "nowhere"},
		"kubeconfig /no/such/file": {Kubeconfig: "/no/such/file"},
	} {
		if _, err := kube.Connect(access, ""); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want an error that says %q", err, name)
		}
	}
}
