//go:build linux

package kube_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/federator/federator/deploy"
	"github.com/federator/federator/test/e2e/fleet"
)

// privilege is one verb on one resource that the manifests grant.
type privilege struct {
	// object grants it: the ClusterRole, or a Role in the agents' own namespace, with
	// its kind before its name.
	object                string
	verb, resource, group string
	// only is the name of the one object that it is for, "" if it is for all.
	only string
}

func privilegeOf(object string, r *rbacv1.PolicyRule, resource, verb string) privilege {
	return privilege{object, verb, resource, r.APIGroups[0], strings.Join(r.ResourceNames, ",")}
}

// String is the privilege as check has it.
func (g privilege) String() string {
	if g.group == "" {
		return g.verb + " " + g.resource + " of the core API group"
	}
	return g.verb + " " + g.resource + " of API group " + g.group
}

// by is the object that grants it.
func (g privilege) by() string {
	if g.local() {
		return g.object + " in namespace " + namespace
	}
	return g.object
}

// local: it is granted in the agents' own namespace only.
func (g privilege) local() bool { return g.object != everywhereRole }

// everywhereRole grants what agents may do in all namespaces.
const everywhereRole = "ClusterRole federator"

// grants are those of the agents of one cluster, which are taken away and given
// back.
type grants struct {
	*stage
	region string
	named  map[privilege]bool // those whose absence was named
}

// speaker is an agent whose log and whose check are looked at.
type speaker interface {
	LogPath() string
	CLI(args ...string) fleet.Result
}

// granted are all that the manifests grant.
func (s *stage) granted() []privilege {
	var out []privilege
	for object, text := range s.roles() {
		for _, r := range read[rbacv1.ClusterRole](text).Rules {
			for _, resource := range r.Resources {
				for _, verb := range r.Verbs {
					out = append(out, privilegeOf(object, &r, resource, verb))
				}
			}
		}
	}
	return out
}

// roles are the objects of the manifests that grant something, by kind and name, with
// the component that grants most.
func (s *stage) roles() map[string]string {
	s.Helper()
	text, err := deploy.Render(deploy.Values{Region: "r", Cluster: "c", Expose: "loadbalancer"})
	s.must(err)
	out := map[string]string{}
	for _, one := range strings.Split(string(text), "\n---\n") {
		var meta metav1.PartialObjectMetadata
		s.must(yaml.Unmarshal([]byte(one), &meta))
		if meta.Kind == "ClusterRole" || meta.Kind == "Role" {
			out[meta.Kind+" "+meta.Name] = one
		}
	}
	return out
}

// those selects from what the manifests grant.
func (g *grants) those(pick func(privilege) bool) []privilege {
	return slices.DeleteFunc(g.granted(), func(one privilege) bool { return !pick(one) })
}

// take takes these away, and gives back all others.
func (g *grants) take(taken ...privilege) {
	g.Helper()
	ctx, rbac := context.Background(), g.world.Cluster(g.region).Clients.Core.RbacV1()
	for object, text := range g.roles() {
		rules := less(read[rbacv1.ClusterRole](text).Rules, object, taken)
		if object == everywhereRole {
			role, err := rbac.ClusterRoles().Get(ctx, "federator", metav1.GetOptions{})
			g.must(err)
			role.Rules = rules
			_, err = rbac.ClusterRoles().Update(ctx, role, metav1.UpdateOptions{})
			g.must(err)
			continue
		}
		role, err := rbac.Roles(namespace).Get(ctx, strings.TrimPrefix(object, "Role "), metav1.GetOptions{})
		if apierrors.IsNotFound(err) { // a component that is not used in this cluster
			continue
		}
		g.must(err)
		role.Rules = rules
		_, err = rbac.Roles(namespace).Update(ctx, role, metav1.UpdateOptions{})
		g.must(err)
	}
	g.Until(naming, "the API server to know what it grants", func() error {
		for _, one := range taken {
			if g.allowed(one) {
				return fmt.Errorf("it still grants %s", one)
			}
		}
		return nil
	})
}

// allowed asks the API server whether it grants something to the agents now.
func (g *grants) allowed(one privilege) bool {
	g.Helper()
	resource, sub, _ := strings.Cut(one.resource, "/")
	ask := &authorizationv1.ResourceAttributes{Verb: one.verb, Group: one.group, Resource: resource, Subresource: sub, Name: one.only}
	if one.local() {
		ask.Namespace = namespace
	}
	answer, err := g.world.Cluster(g.region).Clients.Core.AuthorizationV1().SubjectAccessReviews().Create(context.Background(), &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: "system:serviceaccount:" + namespace + ":federator", Groups: []string{agents, "system:serviceaccounts", "system:authenticated"}, ResourceAttributes: ask},
	}, metav1.CreateOptions{})
	g.must(err)
	return answer.Status.Allowed
}

// less are the rules without what is taken away.
func less(rules []rbacv1.PolicyRule, object string, taken []privilege) (out []rbacv1.PolicyRule) {
	for _, r := range rules {
		for _, resource := range r.Resources {
			for _, verb := range r.Verbs {
				if slices.Contains(taken, privilegeOf(object, &r, resource, verb)) {
					continue
				}
				one := *r.DeepCopy()
				one.Resources, one.Verbs = []string{resource}, []string{verb}
				out = append(out, one)
			}
		}
	}
	return out
}

// naming bounds how long it takes until a refusal is told of, and until it is known
// to be over.
const naming = 90 * time.Second

// miss takes grants away, has the agent need them, waits until all of them are named
// in its log and in its check, gives them back, and waits until check is quiet. again
// makes the agent need them; it may be nil.
func (g *grants) miss(of speaker, taken []privilege, again func()) {
	g.Helper()
	begun := time.Now()
	if len(taken) == 0 {
		g.Fatal("expected grants to take away, found none: the manifests have changed")
	}
	from := size(of)
	g.take(taken...)
	if again != nil {
		again()
	}
	g.Until(naming, fmt.Sprintf("the log and check to name %v", taken), func() error {
		return errors.Join(logged(of, from, taken), checked(of, taken))
	})
	g.Logf("%v: named after %v", taken, time.Since(begun).Round(100*time.Millisecond))
	g.take()
	g.Until(naming, "check to say nothing of rights any more", func() error {
		found, err := problems(of)
		for code := range found {
			if code == "kubernetes-rights" || code == "source" || code == "imports-refused" {
				return fmt.Errorf("found %v", found[code])
			}
		}
		return err
	})
	for _, one := range taken {
		g.named[one] = true
	}
}

func size(of speaker) int64 {
	info, err := os.Stat(of.LogPath())
	if err != nil {
		return 0 // it has said nothing yet
	}
	return info.Size()
}

// logged reports which of these the log does not name from there on.
func logged(of speaker, from int64, taken []privilege) error {
	text, err := os.ReadFile(of.LogPath())
	if err != nil {
		return err
	}
	lines := strings.Split(string(text[from:]), "\n")
	var errs []error
	for _, one := range taken {
		group := one.group
		if group == "" {
			group = `""`
		}
		if !slices.ContainsFunc(lines, func(line string) bool {
			return strings.Contains(line, "the API server does not allow what this replica needs") && strings.Contains(line, "verb="+one.verb+" ") &&
				strings.Contains(line, "resource="+one.resource+" ") && strings.Contains(line, "apiGroup="+group+" ") && strings.Contains(line, one.by())
		}) {
			errs = append(errs, fmt.Errorf("the log does not name %s", one))
		}
	}
	return errors.Join(errs...)
}

// complaint is a problem that check finds.
type complaint struct{ Severity, Code, Subject, Found, Action string }

// problems are all that check finds, by code.
func problems(of speaker) (map[string][]complaint, error) {
	result := of.CLI("check", "-o", "json")
	if result.Code != 0 && result.Code != 3 {
		return nil, errors.New(strings.TrimSpace(result.Err))
	}
	var found struct{ Problems []complaint }
	if err := json.Unmarshal([]byte(result.Out), &found); err != nil {
		return nil, err
	}
	out := map[string][]complaint{}
	for _, p := range found.Problems {
		out[p.Code] = append(out[p.Code], p)
	}
	return out, nil
}

// checked reports which of these check does not name, with what to do, and what it
// names besides.
func checked(of speaker, taken []privilege) error {
	found, err := problems(of)
	if err != nil {
		return err
	}
	var errs []error
	rights := found["kubernetes-rights"]
	for _, one := range taken {
		at := slices.IndexFunc(rights, func(p complaint) bool { return p.Subject == one.String() })
		if at < 0 {
			errs = append(errs, fmt.Errorf("check does not name %s", one))
		} else if p := rights[at]; p.Severity != "error" || !strings.Contains(p.Action, "grant it in "+one.by()) {
			errs = append(errs, fmt.Errorf("check says of %s: %+v", one, p))
		}
	}
	for _, p := range rights {
		if !slices.ContainsFunc(taken, func(one privilege) bool { return one.String() == p.Subject }) {
			errs = append(errs, fmt.Errorf("check names %s, which is granted", p.Subject))
		}
	}
	return errors.Join(errs...)
}
