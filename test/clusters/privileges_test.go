//go:build linux

package clusters

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	f, err := os.Open(c.real.AuditLog())
	ok(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r request
		ok(t, json.Unmarshal(lines.Bytes(), &r))
		if r.User.Username == "system:serviceaccount:"+namespace+":federator" && r.ObjectRef != nil {
			all = append(all, r)
		}
	}
	ok(t, lines.Err())
	return all
}

// What federator does in its life is done here, too, so that this holds alone as well
// as after the other tests; that it was founded and joined is in the log already.
func TestEverythingThatIsGrantedIsUsedAndNothingElseIsAskedFor(t *testing.T) {
	f := needWorld(t)
	s := newShop(t, f, "privileges")
	for _, c := range f.clusters {
		s.open(c, "checkout", 1)
	}
	s.answered("checkout", map[string]string{"us-west": "us-west", "eu-central": "eu-central", "asia-east": "asia-east"})
	for _, c := range f.clusters {
		ok(t, s.clear(t.Context(), c))
	}
	unused := map[grant]bool{}
	used := map[grant]int{}
	for _, c := range f.clusters {
		granted, err := c.grants(t.Context())
		ok(t, err)
		for _, g := range granted {
			unused[g] = true
		}
		for _, r := range c.requests(t) {
			if r.ResponseStatus.Code == 403 {
				t.Errorf("%s: %s %+v was forbidden: %s", c.name, r.Verb, *r.ObjectRef, r.ResponseStatus.Message)
			}
			for _, g := range granted {
				if g.allows(r) {
					used[g]++
				}
			}
		}
	}
	for g := range used {
		delete(unused, g)
	}
	lines := func(of map[grant]bool) (out []string) {
		for g := range of {
			out = append(out, g.String())
		}
		slices.Sort(out)
		return out
	}
	if len(used) == 0 {
		t.Fatal("expected requests in the audit logs, found none")
	}
	for _, g := range slices.SortedFunc(maps.Keys(used), func(a, b grant) int { return strings.Compare(a.String(), b.String()) }) {
		t.Logf("%s: %d requests", g, used[g])
	}
	for _, line := range lines(unused) {
		t.Errorf("granted and never used: %s", line)
	}
}
