package deploy

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

var (
	// call is a call of a typed client of client-go, such as
	// Secrets(namespace).Get(ctx, ...), in code without comments.
	call = regexp.MustCompile(`\.(Core|Apps|Discovery|Coordination|Events|Authentication|Multicluster|Federator)V1(?:beta1|alpha1)?\(\)\.([A-Z][A-Za-z]+)\(([^()]|\([^()]*\))*\)\.([A-Z][A-Za-z]+)\(`)
	// informed is a use of an informer, which lists and watches.
	informed = regexp.MustCompile(`\.(Core|Apps|Discovery|Coordination|Multicluster)\(\)\.V1(?:beta1|alpha1)?\(\)\.([A-Z][A-Za-z]+)\(\)`)
	comment  = regexp.MustCompile(`(?m)//.*$`)
	// toStatus is the rest of a patch of the subresource.
	toStatus = regexp.MustCompile(`(?s)^.{0,200}?, "status"\)`)
)

// apiGroups are those of the clients.
func apiGroups() map[string]string {
	return map[string]string{"Core": "", "Apps": "apps", "Discovery": "discovery.k8s.io", "Coordination": "coordination.k8s.io", "Events": "events.k8s.io", "Authentication": "authentication.k8s.io", "Multicluster": "multicluster.x-k8s.io", "Federator": "federator.dev"}
}

// verbs are what the methods of the clients ask for, and of which subresource.
func verbs() map[string][2]string {
	return map[string][2]string{
		"Get": {"get"}, "List": {"list"}, "Watch": {"watch"}, "Create": {"create"}, "Update": {"update"}, "Patch": {"patch"}, "Apply": {"patch"},
		"Delete": {"delete"}, "DeleteCollection": {"deletecollection"}, "UpdateStatus": {"update", "/status"}, "ApplyStatus": {"patch", "/status"},
	}
}

// need is one verb on one resource.
type need struct{ group, resource, verb string }

// needs are what the sources under a folder ask of an API server, and where.
func needs(t *testing.T, dir string) map[need]string {
	t.Helper()
	out := map[need]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && (path == "laptop" || path == "link") {
			return fs.SkipDir // an operator runs these, with rights of their own
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(os.DirFS(dir), path)
		code := comment.ReplaceAllString(string(text), "")
		for _, at := range call.FindAllStringSubmatchIndex(code, -1) {
			m := call.FindStringSubmatch(code[at[0]:at[1]])
			verb, known := verbs()[m[4]]
			if m[4] == "Patch" && toStatus.MatchString(code[at[1]:]) {
				verb[1] = "/status"
			}
			if !known {
				t.Errorf("%s: %s: no verb is known for this method", path, m[0])
			}
			out[need{apiGroups()[m[1]], strings.ToLower(m[2]) + verb[1], verb[0]}] = path
		}
		for _, m := range informed.FindAllStringSubmatch(code, -1) {
			for _, verb := range []string{"list", "watch"} {
				out[need{apiGroups()[m[1]], strings.ToLower(m[2]), verb}] = path
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// used is all that the code asks of an API server, and where. What no pattern finds is
// listed: the writes of imports, which are of any kind of object, the informer of
// namespaces, and what client-go does for the Events and for the election of the writer.
func used(t *testing.T) map[need]string {
	t.Helper()
	out := needs(t, "../kube")
	const writes, multi, leases = "imports/apply.go", "multicluster.x-k8s.io", "coordination.k8s.io"
	for _, verb := range []string{"create", "update", "delete"} {
		for _, resource := range [][2]string{{"", "services"}, {"discovery.k8s.io", "endpointslices"}, {multi, "serviceimports"}} {
			out[need{resource[0], resource[1], verb}] = writes
		}
	}
	out[need{multi, "serviceimports/status", "update"}] = writes
	for _, n := range []need{{"", "namespaces", "list"}, {"", "namespaces", "watch"}} {
		out[n] = "imports/view.go"
	}
	for _, n := range []need{{"", "events", "create"}, {"", "events", "patch"}, {leases, "leases", "create"}, {leases, "leases", "get"}, {leases, "leases", "update"}} {
		out[n] = "client-go"
	}
	return out
}

// rules are those of a role of the manifests.
func rules(t *testing.T, kind string) []rbacv1.PolicyRule {
	t.Helper()
	return rulesOf(t, kind+"/federator", Values{Region: "us-west", Cluster: "west-1"})
}

func rulesOf(t *testing.T, name string, v Values) []rbacv1.PolicyRule {
	t.Helper()
	var role rbacv1.ClusterRole // whose rules are those of a Role
	o := rendered(t, v)[name]
	o["kind"] = "ClusterRole"
	strictly(t, o, &role)
	return role.Rules
}

func grants(rules []rbacv1.PolicyRule, n need) bool {
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
		return slices.Contains(r.APIGroups, n.group) && slices.Contains(r.Resources, n.resource) && slices.Contains(r.Verbs, n.verb)
	})
}

// That each verb is used where it runs, too, is for test/clusters to show.
func TestEveryVerbThatTheCodeUsesIsGranted(t *testing.T) {
	balanced := rulesOf(t, "Role/federator-loadbalancer", Values{Region: "us-west", Cluster: "west-1", Expose: "loadbalancer"})
	granted := slices.Concat(rules(t, "ClusterRole"), rules(t, "Role"), balanced)
	found := used(t)
	for n, where := range found {
		if !grants(granted, n) {
			t.Errorf("kube/%s: %s %s.%s is granted by no role in clusters/base/rbac.yaml or a component", where, n.verb, n.resource, n.group)
		}
	}
	for _, sure := range []need{{"", "secrets", "create"}, {"", "configmaps", "list"}, {"apps", "statefulsets", "get"}, {"authentication.k8s.io", "tokenreviews", "create"}, {"", "nodes", "get"}, {"federator.dev", "resolutionpolicies", "watch"}, {"federator.dev", "resolutionpolicies/status", "update"}, {"federator.dev", "drills", "list"}, {"federator.dev", "drills/status", "update"}} {
		if found[sure] == "" {
			t.Errorf("%v: the code uses it, and this test does not see it: found %v", sure, found)
		}
	}
}

// of are the needs that rules fulfil.
func of(rules []rbacv1.PolicyRule) (all []need) {
	for _, r := range rules {
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				for _, verb := range r.Verbs {
					all = append(all, need{group, resource, verb})
				}
			}
		}
	}
	return all
}

func TestEveryVerbThatIsGrantedIsUsedByTheCode(t *testing.T) {
	used := used(t)
	granted := map[string]Values{
		"ClusterRole/federator": {Region: "us-west", Cluster: "west-1"}, "Role/federator": {Region: "us-west", Cluster: "west-1"},
		"Role/federator-loadbalancer": {Region: "us-west", Cluster: "west-1", Expose: "loadbalancer"},
	}
	for role, values := range granted {
		for _, n := range of(rulesOf(t, role, values)) {
			if used[n] == "" {
				t.Errorf("%s: %s %s.%s is granted, and no code in kube asks for it", role, n.verb, n.resource, n.group)
			}
		}
	}
}

func TestNothingIsGrantedThatNobodyNeeds(t *testing.T) {
	for kind, allowed := range map[string][]string{
		"ClusterRole": {"namespaces", "nodes", "services", "endpointslices", "serviceexports", "serviceexports/status", "serviceimports", "serviceimports/status", "resolutionpolicies", "resolutionpolicies/status", "drills", "drills/status", "events", "tokenreviews"},
		"Role":        {"secrets", "configmaps", "statefulsets", "leases"},
	} {
		for _, r := range rules(t, kind) {
			for _, word := range slices.Concat(r.APIGroups, r.Resources, r.Verbs) {
				if word == "*" || slices.Contains([]string{"escalate", "bind", "impersonate", "deletecollection"}, word) {
					t.Errorf("%s: grants %q", kind, word)
				}
			}
			for _, resource := range r.Resources {
				if !slices.Contains(allowed, resource) {
					t.Errorf("%s: grants %v on %s", kind, r.Verbs, resource)
				}
			}
		}
		for _, verb := range []string{"list", "watch", "update", "patch"} {
			if grants(rules(t, kind), need{"", "secrets", verb}) {
				t.Errorf("%s: grants %s on secrets: a pod asks for its own by name", kind, verb)
			}
		}
	}
	for _, read := range []string{"nodes", "namespaces", "serviceexports", "resolutionpolicies", "drills"} {
		for _, verb := range []string{"create", "update", "patch", "delete"} {
			for _, group := range []string{"", "multicluster.x-k8s.io", "federator.dev"} {
				if grants(rules(t, "ClusterRole"), need{group, read, verb}) {
					t.Errorf("ClusterRole: grants %s on %s, which are only read", verb, read)
				}
			}
		}
	}
}

func TestTheBindingsNameTheRolesAndTheServiceAccount(t *testing.T) {
	all := rendered(t, Values{Region: "us-west", Cluster: "west-1"})
	for binding, role := range map[string]string{"ClusterRoleBinding": "ClusterRole", "RoleBinding": "Role"} {
		var b rbacv1.ClusterRoleBinding
		o := all[binding+"/federator"]
		o["kind"] = "ClusterRoleBinding"
		strictly(t, o, &b)
		found := fmt.Sprint(b.RoleRef.Kind, b.RoleRef.Name, len(b.Subjects), b.Subjects[0].Kind, b.Subjects[0].Name, b.Subjects[0].Namespace)
		if found != fmt.Sprint(role, "federator", 1, "ServiceAccount", "federator", defaultNamespace) || all["ServiceAccount/federator"] == nil {
			t.Errorf("%s: found %s", binding, found)
		}
	}
}
