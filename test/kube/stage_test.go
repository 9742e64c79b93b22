//go:build linux

package kube_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/federator/federator/deploy"
	"github.com/federator/federator/test/controlplane"
	"github.com/federator/federator/test/e2e/fleet"
)

const (
	namespace = "federator-system"
	// agents is the group of the users that the agents are.
	agents = "system:serviceaccounts:" + namespace
	shop   = "shop"
)

// stage is agents of the built program, which read and write real clusters with
// what the manifests grant and nothing more. Each region is one cluster, which the
// federation calls REGION-1.
type stage struct {
	*fleet.Fleet
	world  *controlplane.World
	config map[string]string // of the agents, by region
}

// enact starts the federation; the first region founds it.
func enact(t *testing.T, replicas map[string]int, regions ...string) *stage {
	t.Helper()
	w := need(t, controlplane.Options{Clusters: regions, Audit: []string{agents}})
	s := &stage{Fleet: fleet.New(t, program()), world: w, config: map[string]string{}}
	for i, region := range regions {
		s.prepare(region, i)
	}
	var first *fleet.Replica
	for _, region := range regions {
		for n := range replicas[region] {
			r := s.Place(region, fmt.Sprintf("%s-%d", region, n))
			if first == nil {
				first = r
				args := append([]string{"init", "--trust-domain", fleet.TrustDomain, "--recovery-key-file", filepath.Join(s.Dir, "recovery.key")}, r.Placing()...)
				s.Run(args...).OK(t)
			} else {
				r.Join(first.Token()).OK(t)
			}
			r.Start("--config", s.config[region])
			r.Ready()
		}
	}
	return s
}

// prepare grants the agents of a cluster what they may do there, and makes a node by
// which clients of 127.200+i.0.0/16 are in the cluster.
func (s *stage) prepare(region string, i int) {
	s.Helper()
	ctx, c := context.Background(), s.world.Cluster(region)
	for _, ns := range []string{namespace, shop} {
		_, err := c.Clients.Core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{})
		s.must(err)
	}
	for kind, text := range s.manifests() {
		s.must(create(ctx, c, kind, text))
	}
	g := &grants{stage: s, region: region}
	s.Until(2*time.Minute, "the API server of "+region+" to know what it grants", func() error {
		for _, one := range g.granted() {
			if !strings.HasSuffix(one.object, "-loadbalancer") && !g.allowed(one) { // those are not among them
				return fmt.Errorf("it does not grant %s yet", one)
			}
		}
		return nil
	})
	_, err := c.Clients.Core.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node", Labels: map[string]string{corev1.LabelTopologyZone: "a"}},
		Spec:       corev1.NodeSpec{PodCIDR: inside(i).String(), PodCIDRs: []string{inside(i).String()}},
	}, metav1.CreateOptions{})
	s.must(err)
	life := int64(6 * 3600)
	token, err := c.Clients.Core.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "federator",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &life}}, metav1.CreateOptions{})
	s.must(err)
	kubeconfig := filepath.Join(s.Dir, region+".kubeconfig")
	s.must(clientcmd.WriteToFile(api.Config{
		CurrentContext: "c", Contexts: map[string]*api.Context{"c": {Cluster: "c", AuthInfo: "u"}},
		Clusters:  map[string]*api.Cluster{"c": {Server: c.Config.Host, CertificateAuthorityData: c.Config.CAData, CertificateAuthority: c.Config.CAFile}},
		AuthInfos: map[string]*api.AuthInfo{"u": {Token: token.Status.Token}},
	}, kubeconfig))
	s.config[region] = s.Write(region+".agent.yaml", fmt.Sprintf("kubernetes: {enabled: true, kubeconfig: %q}\n", kubeconfig))
}

// inside is the network of the pods of the cluster with that number.
func inside(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, byte(200 + i), 0, 0}), 16)
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// manifests are the objects of the manifests that grant something, by kind.
func (s *stage) manifests() map[string]string {
	s.Helper()
	text, err := deploy.Render(deploy.Values{Region: "r", Cluster: "c"})
	s.must(err)
	out := map[string]string{}
	for _, one := range strings.Split(string(text), "\n---\n") {
		var meta metav1.TypeMeta
		s.must(yaml.Unmarshal([]byte(one), &meta))
		switch meta.Kind {
		case "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding":
			out[meta.Kind] = one
		}
	}
	return out
}

func create(ctx context.Context, c *controlplane.Cluster, kind, text string) (err error) {
	rbac, o := c.Clients.Core.RbacV1(), metav1.CreateOptions{}
	switch kind {
	case "ServiceAccount":
		_, err = c.Clients.Core.CoreV1().ServiceAccounts(namespace).Create(ctx, read[corev1.ServiceAccount](text), o)
	case "ClusterRole":
		_, err = rbac.ClusterRoles().Create(ctx, read[rbacv1.ClusterRole](text), o)
	case "ClusterRoleBinding":
		_, err = rbac.ClusterRoleBindings().Create(ctx, read[rbacv1.ClusterRoleBinding](text), o)
	case "Role":
		_, err = rbac.Roles(namespace).Create(ctx, read[rbacv1.Role](text), o)
	case "RoleBinding":
		_, err = rbac.RoleBindings(namespace).Create(ctx, read[rbacv1.RoleBinding](text), o)
	}
	return err
}

// read reads an object; what cannot be read is refused by the API server.
func read[T any](text string) *T {
	var out T
	if yaml.UnmarshalStrict([]byte(text), &out) != nil {
		return new(T)
	}
	return &out
}

// export makes a Service without a selector, its EndpointSlice and its export.
func (s *stage) export(region, name string, addresses ...string) {
	s.Helper()
	export(s, s.world.Cluster(region), name, addresses...)
}

// serve says which endpoints a Service has, those with a "!" not ready.
func (s *stage) serve(region, name string, addresses ...string) {
	s.Helper()
	_, err := s.world.Cluster(region).Clients.Core.DiscoveryV1().EndpointSlices(shop).Update(context.Background(), slice(name, addresses...), metav1.UpdateOptions{})
	s.must(err)
}

// listed are the endpoints of an import, "CLUSTER ADDRESS" in order, those that are
// not ready with a "!".
func (s *stage) listed(region, name string) ([]string, error) {
	list, err := s.world.Cluster(region).Clients.Core.DiscoveryV1().EndpointSlices(shop).List(context.Background(), metav1.ListOptions{LabelSelector: "federator.dev/import=" + name})
	if err != nil {
		return nil, err
	}
	out := []string{}
	for _, one := range list.Items {
		if one.Labels[discoveryv1.LabelManagedBy] != "federator.dev" || one.Labels[mcs.LabelServiceName] != name {
			return nil, fmt.Errorf("found a slice with the labels %v", one.Labels)
		}
		for _, e := range one.Endpoints {
			not := ""
			if !*e.Conditions.Ready {
				not = "!"
			}
			out = append(out, one.Labels[mcs.LabelSourceCluster]+" "+e.Addresses[0]+not)
		}
	}
	slices.Sort(out)
	return out, nil
}

// lists waits for exactly these endpoints.
func (s *stage) lists(within time.Duration, region, name string, want ...string) {
	s.Helper()
	begun := time.Now()
	s.Until(within, fmt.Sprintf("the import of %s in %s to list %v", name, region, want), func() error {
		got, err := s.listed(region, name)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("found %v", got)
		}
		return err
	})
	s.Logf("%s lists %v of %s after %v", region, want, name, time.Since(begun).Round(time.Millisecond))
}

// imported waits for an import that is ready, of these clusters, and returns where
// it is reached.
func (s *stage) imported(region, name string, clusters ...string) string {
	s.Helper()
	var ip string
	s.Until(soon, name+" to be imported in "+region, func() error {
		i, err := s.world.Cluster(region).Clients.MCS.MulticlusterV1beta1().ServiceImports(shop).Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		var from []string
		for _, c := range i.Status.Clusters {
			from = append(from, c.Cluster)
		}
		if len(i.Spec.IPs) == 0 || len(i.Status.Conditions) != 1 || i.Status.Conditions[0].Status != metav1.ConditionTrue || !slices.Equal(from, clusters) {
			return fmt.Errorf("found %+v %+v", i.Spec, i.Status)
		}
		ip = i.Spec.IPs[0]
		return nil
	})
	return ip
}

// says waits for a condition of an export: "TYPE=STATUS REASON".
func (s *stage) says(region, name, want string) {
	s.Helper()
	s.Until(soon, fmt.Sprintf("the export of %s in %s to say %s", name, region, want), func() error {
		x, err := s.world.Cluster(region).Clients.MCS.MulticlusterV1beta1().ServiceExports(shop).Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		var got []string
		for _, c := range x.Status.Conditions {
			got = append(got, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Reason))
		}
		if !slices.Contains(got, want) {
			return fmt.Errorf("found %v", x.Status.Conditions)
		}
		return nil
	})
}

// writer is the agent that holds the Lease of a cluster.
func (s *stage) writer(region string) (*fleet.Replica, error) {
	lease, err := s.world.Cluster(region).Clients.Core.CoordinationV1().Leases(namespace).Get(context.Background(), "federator-imports", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	for _, r := range s.Replicas(region) {
		if lease.Spec.HolderIdentity != nil && r.Name == *lease.Spec.HolderIdentity {
			return r, nil
		}
	}
	return nil, fmt.Errorf("found the Lease held by %v", lease.Spec.HolderIdentity)
}

// answer asks an agent's DNS from an address and returns the answer section as
// "TYPE DATA".
func answer(r *fleet.Replica, from netip.Addr, name string, qtype uint16) ([]string, error) {
	client := dns.Client{Timeout: 3 * time.Second, Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: from.AsSlice()}}}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, qtype), r.DNS)
	if err != nil {
		return nil, err
	}
	out := []string{}
	for _, rr := range reply.Answer {
		out = append(out, dns.TypeToString[rr.Header().Rrtype]+" "+strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(out)
	return out, nil
}

// answers waits for an answer.
func (s *stage) answers(r *fleet.Replica, from netip.Addr, name string, qtype uint16, want ...string) {
	s.Helper()
	s.Until(soon, fmt.Sprintf("%s to answer %s from %s with %v", r, name, from, want), func() error {
		got, err := answer(r, from, name, qtype)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("found %v", got)
		}
		return err
	})
}

// metric is the sum of a metric of an agent.
func metric(r *fleet.Replica, name string) (float64, error) {
	client := http.Client{Timeout: 10 * time.Second}
	reply, err := client.Get("http://" + r.HTTP + "/metrics")
	if err != nil {
		return 0, err
	}
	defer reply.Body.Close()
	sum := 0.0
	lines := bufio.NewScanner(reply.Body)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", lines.Text(), err)
		}
		sum += value
	}
	return sum, lines.Err()
}

// request is one request in an audit log.
type request struct {
	Stage, Verb    string
	User           struct{ Username string }
	ResponseStatus struct{ Code int }
	StageTimestamp time.Time
	ObjectRef      struct{ APIGroup, Resource, Subresource, Name string }
}

// requests are those that the agents of a cluster made.
func (s *stage) requests(region string) []request {
	s.Helper()
	text, err := os.ReadFile(s.world.Cluster(region).AuditLog())
	s.must(err)
	var out []request
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // still being written
		}
		var r request
		s.must(json.Unmarshal(line, &r))
		if r.ObjectRef.Resource != "" {
			out = append(out, r)
		}
	}
	return out
}
