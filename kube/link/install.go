package link

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/federator/federator/kube/api/v1alpha1"
	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/kube/pod"
)

// fieldManager is the name under which the command line writes.
const fieldManager = "federator"

// Install applies manifests (YAML) by server-side apply, and before them CRDs: those
// of federator's own kinds, and of others those that are missing, because one that is
// there is somebody's already. A field that
// somebody else has set to another value is a conflict, which is an error: it says
// whose, and nothing is forced; the agent's configuration stays as they have it.
// Applying again changes nothing. taken are fields of the StatefulSet, such as [Scale],
// that are taken over all the same: the operator has just said what they are to be.
func Install(ctx context.Context, c *laptop.Cluster, crds, manifests []byte, progress func(string), taken ...string) error {
	kinds, err := Objects(crds)
	if err != nil {
		return err
	}
	for _, crd := range kinds {
		if err := define(ctx, c, crd, progress); err != nil {
			return err
		}
	}
	objects, err := Objects(manifests)
	if err != nil {
		return err
	}
	// The StatefulSet comes last: where it is, everything is, also after a command that
	// was cut short.
	slices.SortStableFunc(objects, func(a, b unstructured.Unstructured) int {
		return cmp.Compare(last(&a), last(&b))
	})
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.Core.Discovery()))
	for i := range objects {
		o := &objects[i]
		err := apply(ctx, c, mapper, o, false)
		switch {
		case apierrors.IsConflict(err) && yields(o):
			progress(settings + " of ConfigMap " + o.GetName() + " is somebody else's, and stays as it is")
			err = apply(ctx, c, mapper, o, false)
		case o.GetKind() == "StatefulSet" && onlyOver(err, taken):
			err = apply(ctx, c, mapper, o, true)
		}
		if err != nil {
			return fmt.Errorf("apply %s %s in %s: %w", o.GetKind(), o.GetName(), c.Context, explained(err, o.GetKind()))
		}
		progress("applied " + o.GetKind() + " " + o.GetName())
	}
	return nil
}

// Scale is the field of the StatefulSet that kubectl scale and unlink change, too.
const Scale = ".spec.replicas"

// onlyOver reports whether an apply was refused because somebody else has set fields, and
// these are among those.
func onlyOver(err error, fields []string) bool {
	var refused apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &refused) || refused.Status().Details == nil || len(refused.Status().Details.Causes) == 0 {
		return false
	}
	return !slices.ContainsFunc(refused.Status().Details.Causes, func(cause metav1.StatusCause) bool {
		return cause.Type != metav1.CauseTypeFieldManagerConflict || !slices.Contains(fields, cause.Field)
	})
}

// settings is the key of the agent's configuration, which is for its users to change.
const settings = "agent.yaml"

// yields takes the agent's configuration out of what is applied, where that is in it, so
// that it stays as somebody else has it.
func yields(o *unstructured.Unstructured) bool {
	_, has, err := unstructured.NestedString(o.Object, "data", settings)
	if o.GetKind() != "ConfigMap" || !has || err != nil {
		return false
	}
	unstructured.RemoveNestedField(o.Object, "data", settings)
	return true
}

func last(o *unstructured.Unstructured) int {
	if o.GetKind() == "StatefulSet" {
		return 1
	}
	return 0
}

// explained adds what to do about what an API server refuses.
func explained(err error, kind string) error {
	switch {
	case apierrors.IsConflict(err):
		return fmt.Errorf("%w; somebody else has changed these fields: undo that, or take it over with federator manifests and kubectl apply --server-side --force-conflicts", err)
	case meta.IsNoMatchError(err) && kind == "ServiceMonitor":
		return fmt.Errorf("%w; install the Prometheus operator first, or leave --service-monitor out", err)
	case apierrors.IsInvalid(err) && kind == "StatefulSet":
		return fmt.Errorf("%w; some fields of a StatefulSet cannot be changed once it is there, its disks among them", err)
	}
	return err
}

// define makes a CRD that is missing, brings one of federator's own up to date, and
// waits until it is served.
func define(ctx context.Context, c *laptop.Cluster, crd unstructured.Unstructured, progress func(string)) (err error) {
	resource := c.Dynamic.Resource(definitions())
	if strings.HasSuffix(crd.GetName(), "."+v1alpha1.Group) {
		_, err = resource.Apply(ctx, crd.GetName(), &crd, metav1.ApplyOptions{FieldManager: fieldManager})
	} else if _, err = resource.Create(ctx, &crd, metav1.CreateOptions{FieldManager: fieldManager}); apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("CustomResourceDefinition %s in %s: %w", crd.GetName(), c.Context, explained(err, crd.GetKind()))
	}
	progress("applied CustomResourceDefinition " + crd.GetName())
	return poll(ctx, func(ctx context.Context) (string, error) {
		o, err := resource.Get(ctx, crd.GetName(), metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions") // null at first
		for _, v := range conditions {
			if m, ok := v.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
				return "", nil
			}
		}
		return "CustomResourceDefinition " + crd.GetName() + " to be served", nil
	}, progress)
}

// apply applies one object, by force if what others have set of it is to go.
func apply(ctx context.Context, c *laptop.Cluster, mapper meta.RESTMapper, o *unstructured.Unstructured, force bool) error {
	kind := o.GroupVersionKind()
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	var resource dynamic.ResourceInterface = c.Dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		resource = c.Dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace())
	}
	_, err = resource.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: force})
	return err
}

// Objects reads the objects of a YAML text.
func Objects(text []byte) ([]unstructured.Unstructured, error) {
	var out []unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		o := unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("manifests: %w", err)
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
}

// MayInstall says why manifests of a region, cluster and, if it is to found one, trust
// domain may not be applied to a cluster: what is there is something else. recipient is
// the public half of the trust domain's recovery key, "" if one is to be made.
func MayInstall(f *Facts, region, cluster, trustDomain, recipient string) error {
	switch {
	case f.Installed && f.Region != "" && (f.Region != region || f.Cluster != cluster):
		return fmt.Errorf("context %s: it is installed as region %s, cluster %s, which cannot become region %s, cluster %s: take it out first (%s)", f.Context, f.Region, f.Cluster, region, cluster, f.federator("unlink", "--from CLUSTER --uninstall"))
	case trustDomain == "":
		return nil
	case f.Agent != nil && f.trustDomain() != trustDomain:
		return fmt.Errorf("context %s: it is a member of %s, and cannot found %s", f.Context, f.trustDomain(), trustDomain)
	case f.Founding != "" && f.Founding != trustDomain:
		return fmt.Errorf("context %s: it founds %s, and not %s", f.Context, f.Founding, trustDomain)
	case f.Installed && f.Founding == "" && f.Agent == nil && f.Secret != nil:
		return fmt.Errorf("context %s: it is joining a federation, and cannot found %s", f.Context, trustDomain)
	case f.Installed && f.Founding == "" && f.Agent == nil && f.perhapsMember():
		return fmt.Errorf("context %s: expected a cluster in which all replicas wait for a token, or none has run yet, found replicas that do not answer (%s): it cannot be seen whether it is a member of a trust domain, and %s would be a second one; see %s, and have them run first: %s; what is not to be kept is taken out first (%s, or, of the only cluster, kubectl delete namespace %s)",
			f.Context, cmp.Or(f.Silent, "nothing is known of why"), trustDomain, f.federator("check", ""), f.federator("install", "without --trust-domain and the key"), f.federator("unlink", "--from CLUSTER --uninstall"), f.Namespace)
	case f.Founding != "" && recipient != strings.TrimSpace(f.Recipient):
		return f.otherKey(recipient)
	case f.Founding == "" && f.Agent != nil:
		return fmt.Errorf("context %s: it is a member of %s already, and has not founded it: leave --trust-domain and the recovery key out", f.Context, trustDomain)
	}
	return nil
}

// perhapsMember reports whether replicas that do not answer may be members of a trust
// domain: if any ever was, each may be that does not wait for a token.
func (f *Facts) perhapsMember() bool {
	waiting := 0
	for _, p := range f.Pods {
		if p.Waits {
			waiting++
		}
	}
	return f.Ran && waiting < max(f.Replicas, 1)
}

// otherKey says that a trust domain has a recovery key already, and another one would
// be good for nothing.
func (f *Facts) otherKey(recipient string) error {
	is, instead := "that of "+recipient, "leave --trust-domain and the key out, which changes nothing about it"
	if recipient == "" {
		is = "no such file"
	}
	if !f.Founded {
		instead = "if it is not founded yet, begin anew: " + f.inside("delete configmap "+pod.InitName)
	}
	return fmt.Errorf("context %s: expected the recovery key of %s, whose public half is %s, found %s: give that one, or %s", f.Context, f.Founding, strings.TrimSpace(f.Recipient), is, instead)
}

// AwaitInstalled waits until what was installed does its work: all replicas are ready
// where the cluster founds the trust domain or is a member of one, else until the
// first pod waits for a token. Of what is paused nothing is waited for.
func AwaitInstalled(ctx context.Context, c *laptop.Cluster, progress func(string)) (Facts, error) {
	var f Facts
	err := poll(ctx, func(ctx context.Context) (string, error) {
		f = Again(ctx, c)
		waiting := f.awaited()
		if waiting == "" || f.Unreachable != "" {
			return waiting, nil
		}
		for _, p := range f.leftBehind() {
			if err := replace(ctx, c, p); err != nil {
				return "", err
			}
			progress("pod " + p.Name + " did not run as it was installed before, and is made anew")
		}
		return waiting, nil
	}, progress)
	return f, err
}

// awaited is what an installation waits for; "" if it does its work, or is paused.
func (f *Facts) awaited() string {
	switch {
	case f.Unreachable != "":
		return "the API server: " + f.Unreachable
	case f.Installed && f.Replicas == 0:
		return ""
	case f.Agent == nil && f.Founding == "" && f.Waits:
		return ""
	case f.Agent != nil && f.Agent.GetReady() && f.Ready >= f.Replicas && f.Current >= f.Replicas:
		return ""
	}
	return f.unfinished()
}

// unfinished says what an installation waits for.
func (f *Facts) unfinished() string {
	said := fmt.Sprintf("all %d replicas to be ready: %d are", f.Replicas, f.Ready)
	if f.Revision != "" && f.Current < f.Replicas {
		said += fmt.Sprintf(", and %d as they were installed before", f.Replicas-f.Current)
	}
	return said + brackets(f.firstStuck())
}

// leftBehind are pods that do not run, and were made before the StatefulSet became what
// it is. Kubernetes replaces one pod at a time and waits until that is ready, which none
// is before the first one has founded or joined: one whose image was not found, for
// instance, would keep all from starting for good.
func (f *Facts) leftBehind() []Pod {
	if f.Revision == "" {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(f.Pods), func(p Pod) bool {
		return p.Ready || p.Trouble == "" || p.Trouble == ending || p.Revision == f.Revision
	})
}

// replace deletes a pod, which its StatefulSet makes anew.
func replace(ctx context.Context, c *laptop.Cluster, p Pod) error {
	err := c.Core.CoreV1().Pods(c.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(p.UID)})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // it is gone, or another one
		return fmt.Errorf("delete pod %s in %s: %w", p.Name, c.Context, err)
	}
	return nil
}

func brackets(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}
