//go:build linux

package clusters

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// request is one of the API server's audit log (audit.k8s.io/v1), as far as it matters.
type request struct {
	Verb      string
	User      struct{ Username string }
	ObjectRef *struct{ APIGroup, Resource, Subresource, Namespace, Name string }
	// ResponseStatus has the code of the answer.
	ResponseStatus struct {
		Code    int
		Message string
	}
}

// grant is one verb on one resource, as a rule grants it.
type grant struct {
	role, group, resource, verb string
	names                       string // of the objects; empty: all
}

func (g grant) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s: %s %s.%s %s", g.role, g.verb, g.resource, g.group, g.names))
}

// allows reports whether it is this grant that allows a request.
func (g grant) allows(r request) bool {
	o := r.ObjectRef
	resource := o.Resource
	if o.Subresource != "" {
		resource += "/" + o.Subresource
	}
	return g.verb == r.Verb && g.group == o.APIGroup && g.resource == resource &&
		(g.names == "" || slices.Contains(strings.Split(g.names, ","), o.Name)) &&
		(!strings.HasPrefix(g.role, "Role/") || o.Namespace == namespace)
}

// grants are those of the ClusterRole and the Role of a cluster.
func (c *cluster) grants(ctx context.Context) ([]grant, error) {
	wide, err := c.Core.RbacV1().ClusterRoles().Get(ctx, "federator", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	narrow, err := c.Core.RbacV1().Roles(namespace).Get(ctx, "federator", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	var out []grant
	add := func(role string, rules []rbacv1.PolicyRule) {
		for _, r := range rules {
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, verb := range r.Verbs {
						out = append(out, grant{role, group, resource, verb, strings.Join(r.ResourceNames, ",")})
					}
				}
			}
		}
	}
	add("ClusterRole/federator", wide.Rules)
	add("Role/federator", narrow.Rules)
	return out, nil
}

// requests are those that federator made to the API server of a cluster.
func (c *cluster) requests(t *testing.T) (all []request) {
	t.Helper()
	text, err := os.ReadFile(c.real.AuditLog())
	ok(t, err)
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // still being written
		}
		var r request
		ok(t, json.Unmarshal(line, &r))
		if r.User.Username == "system:serviceaccount:"+namespace+":federator" && r.ObjectRef != nil {
			all = append(all, r)
		}
	}
	return all
}

// What federator does in its life is done here, too, so that this holds alone as well
// as after the other tests; that it was founded and joined is in the log already.
func TestEverythingThatIsGrantedIsUsedAndNothingElseIsAskedFor(t *testing.T) {
	f := needWorld(t)
	s := newShop(t, f, "privileges")
	s.live()
	s.certified(f.cluster("us-west"))
	used, unused := map[grant]int{}, map[grant]bool{}
	for _, c := range f.clusters {
		granted, err := c.grants(t.Context())
		ok(t, err)
		for _, g := range granted {
			unused[g] = true
		}
		for _, r := range c.requests(t) {
			allowed := false
			for _, g := range granted {
				if g.allows(r) {
					used[g]++
					allowed = true
				}
			}
			// An API server that starts refuses all while it does not know who may do what.
			if r.ResponseStatus.Code == http.StatusForbidden && !allowed {
				t.Errorf("%s: %s %+v was forbidden: %s", c.name, r.Verb, *r.ObjectRef, r.ResponseStatus.Message)
			}
		}
	}
	if len(used) == 0 {
		t.Fatal("expected requests in the audit logs, found none")
	}
	for g, times := range used {
		delete(unused, g)
		t.Logf("%s: %d requests", g, times)
	}
	for g := range unused {
		t.Errorf("granted and never used: %s", g)
	}
}

// live does with a service what brings about every kind of write; the drill of the only
// region that has it is refused, which is a write, too.
func (s *shop) live() {
	s.Helper()
	home := s.clusters[0]
	slice := s.openByHand(home, "checkout", []string{"192.0.2.1"})
	name := s.lists(home, "checkout", 1)
	slices := home.Core.DiscoveryV1().EndpointSlices(s.namespace)

	s.policy(home, "us-west")
	s.drill(home, "brief", "us-west")
	for range 2 { // the second time the Events are counted up
		s.has(home, slice, nil)
		s.lists(home, "checkout", 0)
		s.has(home, slice, []string{"192.0.2.1"})
		s.lists(home, "checkout", 1)
	}
	s.become(home, func(service *corev1.Service) { service.Spec.Ports[0].AppProtocol = new("http") })
	s.until(home, "the derived Service to follow", func(ctx context.Context) error {
		derived, err := home.Core.CoreV1().Services(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: "federator.dev/import=checkout"})
		if err == nil && (len(derived.Items) != 1 || derived.Items[0].Spec.Ports[0].AppProtocol == nil) {
			err = fmt.Errorf("found %+v", derived.Items)
		}
		return err
	})
	s.turnHeadless(home, s.clusters[1])

	// Somebody takes the name of a slice; it stays theirs.
	s.withdraw(s.clusters[1], "checkout")
	s.gone(home, "checkout")
	taken := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name}, AddressType: discoveryv1.AddressTypeIPv4}
	_, err := slices.Create(s.Context(), taken, metav1.CreateOptions{})
	ok(s.T, err)
	s.export(home, "checkout")
	s.until(home, "an Event about the slice of somebody else", func(ctx context.Context) error {
		events, err := home.Core.CoreV1().Events(s.namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=ForeignObject"})
		if err == nil && len(events.Items) == 0 {
			err = errors.New("there is none")
		}
		return err
	})
	theirs, err := slices.Get(s.Context(), name, metav1.GetOptions{})
	if err != nil || len(theirs.Labels)+len(theirs.Endpoints) != 0 {
		s.Errorf("expected the slice of somebody else to be as it was, found %+v, %v", theirs, err)
	}
}

// turnHeadless has the import change its type while it is there, so that its derived
// Service is deleted: another cluster has exported a headless Service, and the older
// export, which decides, is withdrawn. To delete one Service and make another in its
// place would leave a moment without any, in which the import might go.
func (s *shop) turnHeadless(home, other *cluster) {
	s.Helper()
	imported := func(ctx context.Context) (*mcs.ServiceImport, error) {
		return home.MCS.MulticlusterV1beta1().ServiceImports(s.namespace).Get(ctx, "checkout", metav1.GetOptions{})
	}
	_, err := other.Core.CoreV1().Services(s.namespace).Create(s.Context(), serviceByHand("checkout", corev1.ClusterIPNone), metav1.CreateOptions{})
	ok(s.T, err)
	s.export(other, "checkout")
	s.until(home, "the import to be of two clusters", func(ctx context.Context) error {
		i, err := imported(ctx)
		if err == nil && (len(i.Status.Clusters) != 2 || i.Spec.Type != mcs.ClusterSetIP) {
			err = fmt.Errorf("it is %s, of %v", i.Spec.Type, i.Status.Clusters)
		}
		return err
	})
	ok(s.T, home.MCS.MulticlusterV1beta1().ServiceExports(s.namespace).Delete(s.Context(), "checkout", metav1.DeleteOptions{}))
	s.until(home, "the import to be headless", func(ctx context.Context) error {
		i, err := imported(ctx)
		if err == nil && i.Spec.Type != mcs.Headless {
			err = fmt.Errorf("it is %s", i.Spec.Type)
		}
		return err
	})
}
