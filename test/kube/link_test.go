//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/deploy"
	"github.com/federator/federator/federation"
	"github.com/federator/federator/kube/imports"
	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/kube/link"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/token"
	"github.com/federator/federator/test/controlplane"
)

func copyAll(w io.Writer, r io.Reader) (int64, error) { return io.Copy(w, r) }

// diary keeps the lines of a command.
type diary struct {
	t     *testing.T
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(line string) {
	d.t.Log(line)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, "\n")
}

// clusters are those of a world as an operator reaches them, with pods that run.
func reached(t *testing.T, c *controlplane.Cluster) *laptop.Cluster {
	t.Helper()
	l, err := laptop.Open(laptop.Access{Kubeconfig: c.Kubeconfig, Context: c.Name})
	must(t, err)
	l.Exec = runPods(t, c).exec
	return l
}

func rendered(t *testing.T, v deploy.Values) (manifests, definitions []byte) {
	t.Helper()
	v.Cluster, v.Ephemeral = v.Region, true
	manifests, err := deploy.Render(v)
	must(t, err)
	definitions, err = deploy.Definitions()
	must(t, err)
	return manifests, definitions
}

func TestTwoEmptyClustersBecomeOneFederation(t *testing.T) {
	world := need(t, controlplane.Options{Clusters: []string{"us-west", "eu-central"}})
	ctx := t.Context()
	west, central := reached(t, world.Cluster("us-west")), reached(t, world.Cluster("eu-central"))
	d := &diary{t: t}

	founds(t, d, west)
	join := &link.Join{Cluster: central, To: west, Within: 3 * time.Minute, Progress: d.write, Now: time.Now}
	problems, _ := planned(t, join)
	if severe := link.Severe(problems); len(severe) != 1 || severe[0].GetCode() != "not-installed" || !strings.Contains(severe[0].GetAction(), "federator install --context eu-central --region REGION\n  federator join --context eu-central --to us-west") {
		t.Fatalf("expected the two commands, found %v", problems)
	}
	join.Wanted = link.Wanted{Install: true, Region: "eu-central", Cluster: "eu-central", Image: "federator.dev/federator:dev", Expose: "pod"}
	join.Manifests, join.Definitions = rendered(t, deploy.Values{Region: "eu-central", Replicas: 2})
	problems, steps := planned(t, join)
	if len(link.Severe(problems)) > 0 || len(steps) != 4 {
		t.Fatalf("expected nothing in the way and four steps, found %v, %q", problems, steps)
	}

	t.Run("a join that is cut short after the token was put goes on", func(t *testing.T) {
		cutShort(t, d, join)
	})
	r, err := join.Run(ctx)
	must(t, err)
	if r.Already || r.TrustDomain != "acme.example" || r.Region != "eu-central" || r.ToRegion != "us-west" || !slices.Contains(r.Regions, "us-west") {
		t.Errorf("found %+v", r)
	}
	again := &link.Join{Cluster: central, To: west, Progress: d.write, Now: time.Now}
	linkedAlready(t, again)
	if text := d.text(); strings.Count(text, "made a token") != 1 || strings.Contains(text, token.Prefix) {
		t.Errorf("expected one token, which nobody sees:\n%s", text)
	}
	_, err = central.Core.CoreV1().Secrets(laptop.DefaultNamespace).Get(ctx, "federator-join-federator-0", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the Secret with the token is still there: %v", err)
	}
	well(t, west, central)

	t.Run("the cluster is taken out, once", func(t *testing.T) { parted(t, d, central, west) })
	t.Run("it comes back as a new one", func(t *testing.T) {
		if problems, steps := planned(t, join); len(link.Severe(problems)) > 0 || len(steps) != 4 {
			t.Fatalf("found %v, %q", problems, steps)
		}
		r, err := join.Run(ctx)
		must(t, err)
		if r.Already || r.Region != "eu-central" {
			t.Errorf("found %+v", r)
		}
	})
}

// linkedAlready waits until there is nothing left to do, which the command then says. A
// region that was not heard for a moment is waited for.
func linkedAlready(t *testing.T, again *link.Join) {
	t.Helper()
	must(t, controlplane.Until(t.Context(), 2*time.Minute, "nothing to be left to do", func(ctx context.Context) error {
		if problems, steps := again.Plan(ctx); len(link.Severe(problems)) > 0 || len(steps) > 0 {
			return fmt.Errorf("found %v, %q", problems, steps)
		}
		if r, err := again.Run(ctx); err != nil || !r.Already {
			return fmt.Errorf("expected that it says so, found %+v, %v", r, err)
		}
		return nil
	}))
}

// well waits until nothing is wrong with clusters.
func well(t *testing.T, clusters ...*laptop.Cluster) {
	t.Helper()
	for _, c := range clusters {
		must(t, controlplane.Until(t.Context(), time.Minute, c.Context+" to be well", func(ctx context.Context) error {
			f := link.Look(ctx, c, link.ToAsk)
			for _, p := range link.Examine(&f) {
				if p.GetSeverity() == "error" {
					return fmt.Errorf("found %v", p)
				}
			}
			return nil
		}))
	}
}

// founds installs a cluster that founds the trust domain, twice, and before that with an
// image that is not there, which is how many begin.
func founds(t *testing.T, d *diary, c *laptop.Cluster) {
	ctx := t.Context()
	_, recipient, err := federation.NewRecoveryKey()
	must(t, err)
	v := deploy.Values{Region: "us-west", Replicas: 2, TrustDomain: "acme.example", RecoveryRecipient: recipient, Image: noSuchImage}
	manifests, definitions := rendered(t, v)
	must(t, link.Install(ctx, c, definitions, manifests, d.write))
	must(t, controlplane.Until(ctx, time.Minute, "two pods that do not run", func(ctx context.Context) error {
		f := link.Again(ctx, c)
		if len(f.Pods) != 2 || f.Pods[0].Trouble == "" || f.Pods[1].Trouble == "" {
			return fmt.Errorf("found %+v", f.Pods)
		}
		return nil
	}))
	v.Image = ""
	manifests, definitions = rendered(t, v)
	must(t, link.Install(ctx, c, definitions, manifests, d.write))
	f, err := link.AwaitInstalled(ctx, c, d.write)
	must(t, err)
	if f.Current != 2 || f.Ready != 2 {
		t.Errorf("expected two replicas as they are to be, found %+v", f)
	}
	must(t, link.Install(ctx, c, definitions, manifests, d.write)) // again
}

// cutShort joins, and stops as soon as the token is there.
func cutShort(t *testing.T, d *diary, join *link.Join) {
	ctx := t.Context()
	short, cut := context.WithCancel(ctx)
	defer cut()
	first := *join
	first.Progress = func(line string) {
		d.write(line)
		if strings.Contains(line, "made a token") {
			cut()
		}
	}
	if _, err := first.Run(short); err == nil || !strings.Contains(err.Error(), "the same command goes on") {
		t.Errorf("found %v", err)
	}
	if problems, _ := planned(t, join); len(link.Severe(problems)) > 0 {
		t.Errorf("it cannot go on: %v", problems)
	}
}

// parted takes a cluster out, with all that is federator's there, and nothing else.
func parted(t *testing.T, d *diary, central, west *laptop.Cluster) {
	ctx := t.Context()
	mine, foreign := imported(t, central)
	claimed := spokenOf(t, central)
	const corefile = ".:53 {\n    errors\n}\n"
	system := central.Core.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	_, err := system.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "coredns"}, Data: map[string]string{"Corefile": corefile}}, metav1.CreateOptions{})
	must(t, err)
	zone, err := link.PlanDNS(link.LookDNS(ctx, central), link.ZoneOf(ctx, central))
	must(t, err)
	must(t, link.ChangeDNS(ctx, central, zone))

	unlink := &link.Unlink{Cluster: central, From: west, Uninstall: true, Drain: time.Second, Within: 3 * time.Minute, Progress: d.write, Now: time.Now}
	wrong := &link.Unlink{Cluster: west, From: central, Now: time.Now}
	if problems, _ := planned(t, parting{wrong}); !slices.ContainsFunc(problems, func(p *pb.Problem) bool { return p.GetCode() == "authority" }) {
		t.Errorf("expected that the authority region stays, found %v", problems)
	}
	problems, steps := planned(t, parting{unlink})
	if len(link.Severe(problems)) > 0 || len(steps) != 3 || !strings.Contains(steps[2], "the namespace federator-system with its disks, the ClusterRole federator and its binding, 1 ServiceImports of federator with their Services and EndpointSlices, the status of 2 ServiceExports and ResolutionPolicies, the zone in the cluster's DNS") {
		t.Fatalf("found %v, %q", problems, steps)
	}
	must(t, unlink.Run(ctx))
	must(t, unlink.Run(ctx))
	if problems, steps := planned(t, parting{unlink}); len(link.Severe(problems)) > 0 || len(steps) > 0 {
		t.Errorf("expected nothing to do, found %v, %q", problems, steps)
	}
	if f := link.Look(ctx, central, link.ToAsk); f.HasNamespace || len(f.Definitions) != 2 {
		t.Errorf("expected the CRDs and nothing else, found %+v", f)
	}
	if found, err := system.Get(ctx, "coredns", metav1.GetOptions{}); err != nil || found.Data["Corefile"] != corefile {
		t.Errorf("the cluster's DNS: %v, %q", err, found.Data["Corefile"])
	}
	if found := claimed(); !slices.Equal(found, []string{"export Somebody", "policy"}) {
		t.Errorf("expected that only what others say is left, found %q", found)
	}
	if _, err := mine(); !apierrors.IsNotFound(err) {
		t.Errorf("an import of federator is still there: %v", err)
	}
	if _, err := foreign(); err != nil {
		t.Errorf("an import of somebody else is gone: %v", err)
	}
}

// imported makes an import that is federator's and one that is not, and returns how
// each is looked at.
func imported(t *testing.T, c *laptop.Cluster) (mine, foreign func() (*mcs.ServiceImport, error)) {
	t.Helper()
	all := c.MCS.MulticlusterV1beta1().ServiceImports("default")
	for name, labels := range map[string]map[string]string{"mine": {imports.LabelImport: "mine"}, "foreign": nil} {
		_, err := all.Create(t.Context(), &mcs.ServiceImport{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: mcs.ServiceImportSpec{Type: mcs.ClusterSetIP, Ports: []mcs.ServicePort{{Port: 80}}},
		}, metav1.CreateOptions{})
		must(t, err)
	}
	look := func(name string) func() (*mcs.ServiceImport, error) {
		return func() (*mcs.ServiceImport, error) { return all.Get(t.Context(), name, metav1.GetOptions{}) }
	}
	return look("mine"), look("foreign")
}

func TestAnOperatorWhoMayNotHearsWhichRightIsMissing(t *testing.T) {
	world := need(t, controlplane.Options{Clusters: []string{"us-west"}})
	admin := world.Cluster("us-west")
	_, err := admin.Clients.Core.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "viewer"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"", "apps"}, Resources: []string{"pods", "configmaps", "statefulsets"}, Verbs: []string{"get", "list"}}},
	}, metav1.CreateOptions{})
	must(t, err)
	_, err = admin.Clients.Core.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "viewer"}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "viewer"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "vera"}},
	}, metav1.CreateOptions{})
	must(t, err)
	var may []link.Right
	for _, resource := range []string{"pods", "configmaps", "apps/statefulsets"} {
		group, resource, found := strings.Cut(resource, "/")
		if !found {
			group, resource = "", group
		}
		may = append(may, link.Right{Verb: "get", Group: group, Resource: resource}, link.Right{Verb: "list", Group: group, Resource: resource})
	}
	must(t, known(t.Context(), admin, "vera", may))
	config := rest.CopyConfig(admin.Config)
	config.Impersonate.UserName = "vera"
	c, err := laptop.New(config, laptop.Access{Context: "us-west"})
	must(t, err)
	f := link.Look(t.Context(), c, link.ToJoin)
	for _, right := range []string{"create pods/exec -n federator-system", "create secrets -n federator-system"} {
		if !slices.ContainsFunc(f.Denied, func(r link.Right) bool { return r.String() == right }) {
			t.Errorf("expected to hear of %q, found %v", right, f.Denied)
		}
	}
	if len(f.Denied) != 4 {
		t.Errorf("expected four rights, found %v", f.Denied)
	}
	t.Run("and one who has the rights that are listed needs no more", func(t *testing.T) {
		manifests, definitions := rendered(t, deploy.Values{Region: "us-west", Replicas: 1})
		own, err := laptop.New(admin.Config, laptop.Access{Context: "us-west"})
		must(t, err)
		must(t, link.Install(t.Context(), own, definitions, manifests, func(string) {}))
		must(t, controlplane.Until(t.Context(), time.Minute, "the pod of the StatefulSet to be made", func(ctx context.Context) error {
			pods, err := own.Core.CoreV1().Pods(laptop.DefaultNamespace).List(ctx, metav1.ListOptions{LabelSelector: laptop.Selector})
			if err == nil && len(pods.Items) != 1 {
				err = fmt.Errorf("found %d", len(pods.Items))
			}
			return err
		}))
		must(t, grant(t.Context(), admin, "jo", link.Needs(laptop.DefaultNamespace, link.ToJoin)))
		config := rest.CopyConfig(admin.Config)
		config.Impersonate.UserName = "jo"
		c, err := laptop.New(config, laptop.Access{Context: "us-west"})
		must(t, err)
		f := link.Look(t.Context(), c, link.ToJoin)
		if len(f.Denied) > 0 || f.Unknown != "" || !f.Installed || f.Region != "us-west" || f.Image == "" || len(f.Pods) != 1 {
			t.Errorf("found %+v", f)
		}
	})
	if !slices.Equal(f.Definitions["serviceexports"], []string{"v1beta1"}) {
		t.Errorf("what may not be looked at is not missing: %v", f.Definitions)
	}
	if _, err := laptop.Open(laptop.Access{Kubeconfig: admin.Kubeconfig, Context: "mars"}); err == nil || !strings.Contains(err.Error(), `no context "mars"; it has us-west`) {
		t.Errorf("found %v", err)
	}
}

// grant gives a user rights in a namespace and no others, and waits until that is known.
func grant(ctx context.Context, c *controlplane.Cluster, user string, rights []link.Right) error {
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: user, Namespace: laptop.DefaultNamespace}}
	for _, r := range rights {
		resource := r.Resource
		if r.Subresource != "" {
			resource += "/" + r.Subresource
		}
		role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{r.Group}, Resources: []string{resource}, Verbs: []string{r.Verb}})
	}
	_, err := c.Clients.Core.RbacV1().Roles(role.Namespace).Create(ctx, role, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = c.Clients.Core.RbacV1().RoleBindings(role.Namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: user}, Subjects: []rbacv1.Subject{{Kind: "User", Name: user}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return known(ctx, c, user, rights)
}

// known waits until an API server, which hears of roles by a watch, knows that a user has
// rights.
func known(ctx context.Context, c *controlplane.Cluster, user string, rights []link.Right) error {
	return controlplane.Until(ctx, time.Minute, "the API server of "+c.Name+" to know what "+user+" may do", func(ctx context.Context) error {
		for _, r := range rights {
			answer, err := c.Clients.Core.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: user, Groups: []string{"system:authenticated"},
				ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: r.Verb, Group: r.Group, Resource: r.Resource, Subresource: r.Subresource, Namespace: r.Namespace},
			}}, metav1.CreateOptions{})
			if err != nil || !answer.Status.Allowed {
				return fmt.Errorf("%s: it is not allowed yet, %v", r, err)
			}
		}
		return nil
	})
}
