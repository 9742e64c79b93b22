//go:build linux

package kube_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/kube/attest"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/test/controlplane"
	"github.com/federator/federator/test/e2e/fleet"
)

// site is a cluster with a federator of its own region beside it, which may do there
// what deploy/clusters/base/rbac.yaml grants and nothing more.
type site struct {
	*controlplane.Cluster
	t       *testing.T
	world   *controlplane.World
	replica *fleet.Replica
	fleet   *fleet.Fleet
	audit   []string // the secret part of every token that was made
}

// prepare grants what the manifests grant, makes the namespaces, and returns the
// configuration of an agent.
func (s *site) prepare() string {
	s.t.Helper()
	s.kubectl("apply", "-f", "../../deploy/clusters/base/namespace.yaml", "-f", "../../deploy/clusters/base/rbac.yaml")
	for _, namespace := range []string{"shop", "bank"} {
		s.kubectl("create", "namespace", namespace)
		s.kubectl("-n", namespace, "create", "serviceaccount", "web")
	}
	seconds := int64(3600)
	answer, err := s.Clients.Core.CoreV1().ServiceAccounts("federator-system").CreateToken(s.t.Context(), "federator",
		&authentication.TokenRequest{Spec: authentication.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	must(s.t, err)
	config := api.NewConfig()
	config.Clusters["c"] = &api.Cluster{Server: s.Config.Host, CertificateAuthorityData: s.Config.CAData, CertificateAuthority: s.Config.CAFile}
	config.AuthInfos["u"] = &api.AuthInfo{Token: answer.Status.Token}
	config.Contexts["x"] = &api.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	kubeconfig := filepath.Join(s.fleet.Dir, s.Name+".kubeconfig")
	must(s.t, clientcmd.WriteToFile(*config, kubeconfig))
	return s.fleet.Write(s.Name+".yaml", fmt.Sprintf("kubernetes:\n  enabled: true\n  kubeconfig: %s\n  svidLifetime: 30m\n", kubeconfig))
}

func (s *site) kubectl(args ...string) string {
	s.t.Helper()
	out, err := s.world.Kubectl(s.t.Context(), s.Name, args...)
	must(s.t, err)
	return out
}

// pod makes a pod of shop/web, which no kubelet runs.
func (s *site) pod(name string) *corev1.Pod {
	s.t.Helper()
	p, err := s.Clients.Core.CoreV1().Pods("shop").Create(s.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{ServiceAccountName: "web", Containers: []corev1.Container{{Name: "c", Image: "none"}}},
	}, metav1.CreateOptions{})
	must(s.t, err)
	return p
}

// token makes a token as the kubelet does, for the pod unless that is nil.
func (s *site) token(pod *corev1.Pod, audiences ...string) string {
	s.t.Helper()
	seconds := int64(600)
	request := &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds}}
	if pod != nil {
		request.Spec.BoundObjectRef = &authentication.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID}
	}
	answer, err := s.Clients.Core.CoreV1().ServiceAccounts("shop").CreateToken(s.t.Context(), "web", request, metav1.CreateOptions{})
	must(s.t, err)
	s.audit = append(s.audit, strings.Split(answer.Status.Token, ".")[1])
	return answer.Status.Token
}

// ours is a token that proves the pod to federator.
func (s *site) ours(pod *corev1.Pod) string { return s.token(pod, attest.Audience(fleet.TrustDomain)) }

// forged is the token with other claims, signed with a key in a file: what the API
// server itself would have made at another time.
func (s *site) forged(token, keyFile string, claims map[string]any) string {
	s.t.Helper()
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(s.t, err)
	all := map[string]any{}
	must(s.t, json.Unmarshal(payload, &all))
	maps.Copy(all, claims)
	payload, err = json.Marshal(all)
	must(s.t, err)
	text, err := os.ReadFile(keyFile)
	must(s.t, err)
	block, _ := pem.Decode(text)
	key, err := x509.ParseECPrivateKey(block.Bytes)
	must(s.t, err)
	signed := parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(signed))
	r, v, err := ecdsa.Sign(rand.Reader, key, digest[:])
	must(s.t, err)
	s.audit = append(s.audit, strings.Split(signed, ".")[1])
	return signed + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...))
}

// signingKey is the file of the key that the cluster signs tokens with.
func (s *site) signingKey() string { return filepath.Join(filepath.Dir(s.Kubeconfig), "sa.key") }

// trust is what the ConfigMap federator-trust tells the pods of a namespace: it goes
// the way that the manual says.
func (s *site) trust() map[string]string {
	s.t.Helper()
	printed := s.replica.CLI("svid", "trust").OK(s.t).Out
	s.kubectl("-n", "shop", "apply", "-f", s.fleet.Write(s.Name+"-trust.yaml", printed))
	found, err := s.Clients.Core.CoreV1().ConfigMaps("shop").Get(s.t.Context(), "federator-trust", metav1.GetOptions{})
	must(s.t, err)
	return found.Data
}

// fetch runs the program as a container of the pod would.
func (s *site) fetch(trust map[string]string, token, out string, more ...string) fleet.Result {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "token")
	must(s.t, os.WriteFile(file, []byte(token), 0o600))
	cmd := s.fleet.Command(append([]string{"svid", "fetch", "--agent", s.replica.Peer, "--token-file", file, "--out", out}, more...)...)
	for name, value := range trust {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return s.fleet.Exec(cmd, "")
}

// answered is fetch, repeated while nobody decides: a replica that was not heard in time, or
// cannot ask its API server.
func (s *site) answered(trust map[string]string, token, out string, more ...string) (r fleet.Result) {
	s.t.Helper()
	must(s.t, fleet.Await(soon, func() error {
		r = s.fetch(trust, token, out, more...)
		for _, undecided := range []error{enroll.ErrUnreachable, enroll.ErrUnavailable, enroll.ErrTooMany} {
			if r.Code != 0 && strings.Contains(r.Err, undecided.Error()) {
				return errors.New(r.Err)
			}
		}
		return nil
	}))
	return r
}

// ask sends a token to the replica that the program itself would not send.
func (s *site) ask(trust map[string]string, token string) error {
	s.t.Helper()
	key, err := identity.NewKey()
	must(s.t, err)
	pin, err := identity.ParseKeyID(trust["FEDERATOR_PINS"])
	must(s.t, err)
	_, err = (&enroll.Joiner{Now: time.Now}).FetchSVID(s.t.Context(), enroll.SVIDRequest{
		ID: identity.WorkloadID(fleet.TrustDomain, "shop", "web"), Region: s.replica.Region, Cluster: s.replica.Cluster,
		Pins: []identity.KeyID{pin}, Addresses: []string{s.replica.Peer}, Token: token, Key: key,
	})
	return err
}

// decided is ask, repeated while the replica does not answer, or its API server it.
func (s *site) decided(trust map[string]string, token string) (decision error) {
	s.t.Helper()
	must(s.t, fleet.Await(soon, func() error {
		decision = s.ask(trust, token)
		for _, undecided := range []error{enroll.ErrUnreachable, enroll.ErrUnavailable, enroll.ErrTooMany} {
			if errors.Is(decision, undecided) {
				return decision
			}
		}
		return nil
	}))
	return decision
}

// newSites makes a cluster, and a region of one replica, for each name.
func newSites(t *testing.T, names ...string) map[string]*site {
	t.Helper()
	world := need(t, controlplane.Options{Clusters: names})
	f := fleet.New(t, program())
	sites := map[string]*site{}
	for i, name := range names {
		s := &site{Cluster: world.Cluster(name), t: t, world: world, fleet: f}
		f.Config = s.prepare()
		if i == 0 {
			s.replica = f.Init(name)
		} else {
			s.replica = f.Join(sites[names[0]].replica, name, name+"-0")
		}
		sites[name] = s
	}
	return sites
}

// delete removes a pod at once, as nobody runs it.
func (s *site) delete(pod *corev1.Pod) {
	s.t.Helper()
	now := int64(0)
	must(s.t, s.Clients.Core.CoreV1().Pods(pod.Namespace).Delete(s.t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: ptrTo(pod.UID)}}))
}

func ptrTo(uid types.UID) *types.UID { return &uid }
