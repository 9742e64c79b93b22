package deploy

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

//go:embed clusters/base/*.yaml clusters/components/*/*.yaml
var files embed.FS

const (
	defaultNamespace = "federator-system"
	name             = "federator"
	// perPod is the Service of a pod, of which there is one a pod.
	perPod = "federator-0"
	// podLabel is the label by which it selects its pod.
	podLabel = "statefulset.kubernetes.io/pod-name"
)

// object is a Kubernetes object as JSON has it.
type object = map[string]any

// Render returns the manifests for the values as YAML, Namespace first.
func Render(v Values) ([]byte, error) {
	v = v.withDefaults()
	if err := v.validate(); err != nil {
		return nil, err
	}
	objects, err := assemble(v.components())
	if err != nil {
		return nil, err
	}
	if objects, err = v.fill(objects); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for i, o := range objects {
		if i > 0 {
			out.WriteString("---\n")
		}
		text, err := yaml.Marshal(o)
		if err != nil {
			return nil, err
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}

// folder is a kustomization.yaml, as far as those here go.
type folder struct {
	Resources []string `json:"resources"`
	Patches   []struct {
		Path string `json:"path"`
	} `json:"patches"`
}

// assemble puts the base and its components together, as kustomize does.
func assemble(components []string) ([]object, error) {
	objects, err := build(nil, "clusters/base")
	for _, c := range components {
		if err == nil {
			objects, err = build(objects, "clusters/components/"+c)
		}
	}
	return objects, err
}

// build adds the resources of a folder and applies its patches.
func build(objects []object, dir string) ([]object, error) {
	var f folder
	text, err := fs.ReadFile(files, dir+"/kustomization.yaml")
	if err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	for _, r := range f.Resources {
		more, err := read(path.Join(dir, r))
		if err != nil {
			return nil, err
		}
		objects = append(objects, more...)
	}
	for _, p := range f.Patches {
		patches, err := read(path.Join(dir, p.Path))
		if err != nil {
			return nil, err
		}
		for _, patch := range patches {
			if err := apply(objects, patch); err != nil {
				return nil, fmt.Errorf("%s/%s: %w", dir, p.Path, err)
			}
		}
	}
	return objects, nil
}

// read returns the objects of a file.
func read(file string) ([]object, error) {
	text, err := fs.ReadFile(files, file)
	if err != nil {
		return nil, err
	}
	var out []object
	for part := range strings.SplitSeq("\n"+string(text), "\n---\n") {
		o := object{}
		if err := yaml.Unmarshal([]byte(part), &o); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, o)
	}
	return out, nil
}

// apply merges a patch into the object that it names.
func apply(objects []object, patch object) error {
	of := find(objects, kindOf(patch), nameOf(patch))
	types := map[string]any{"StatefulSet": appsv1.StatefulSet{}, "ConfigMap": corev1.ConfigMap{}, "Namespace": corev1.Namespace{}, "Service": corev1.Service{}}
	schema, known := types[kindOf(patch)]
	if of == nil || !known {
		return fmt.Errorf("a patch of %s %s: expected an object of that name, of a kind that can be patched here", kindOf(patch), nameOf(patch))
	}
	merged, err := strategicpatch.StrategicMergeMapPatch(of, patch, schema)
	if err != nil {
		return err
	}
	merged = maps.Clone(merged) // it may be the same map
	clear(of)
	maps.Copy(of, merged)
	return nil
}

func find(objects []object, kind, name string) object {
	for _, o := range objects {
		if kindOf(o) == kind && nameOf(o) == name {
			return o
		}
	}
	return nil
}

func kindOf(o object) string { s, _ := o["kind"].(string); return s }

func nameOf(o object) string { s, _ := at(o, "metadata")["name"].(string); return s }

// at follows a path of maps; it makes those that are not there.
func at(o object, path ...string) object {
	for _, key := range path {
		next, ok := o[key].(object)
		if !ok {
			next = object{}
			o[key] = next
		}
		o = next
	}
	return o
}

// fill puts the values into the objects, and adds those that depend on them.
func (v Values) fill(objects []object) ([]object, error) {
	set := find(objects, "StatefulSet", name)
	config := find(objects, "ConfigMap", name)
	at(config, "data")["region"], at(config, "data")["cluster"] = v.Region, v.Cluster
	at(set, "spec")["replicas"] = int64(v.Replicas)
	for _, c := range at(set, "spec", "template", "spec")["containers"].([]any) {
		c.(object)["image"] = v.Image
	}
	if claims, ok := at(set, "spec")["volumeClaimTemplates"].([]any); ok && v.StorageClass != "" {
		for _, c := range claims {
			at(c.(object), "spec")["storageClassName"] = v.StorageClass
		}
	}
	objects, err := v.services(objects)
	if err != nil {
		return nil, err
	}
	if v.TrustDomain != "" {
		objects = append(objects, object{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": object{"name": "federator-init", "labels": object{"app.kubernetes.io/name": name}},
			"data":     object{"trustDomain": v.TrustDomain, "recoveryRecipient": v.RecoveryRecipient},
		})
	}
	for _, o := range objects {
		v.settle(o)
	}
	return objects, nil
}

// services makes the Service of the first pod one for every pod.
func (v Values) services(objects []object) ([]object, error) {
	template := find(objects, "Service", perPod)
	if template == nil {
		return objects, nil
	}
	var out []object
	for _, o := range objects {
		if kindOf(o) != "Service" || at(o, "spec", "selector")[podLabel] == nil {
			out = append(out, o)
		}
	}
	for n := range v.Replicas {
		text, err := json.Marshal(template)
		if err != nil {
			return nil, err
		}
		service, pod := object{}, name+"-"+strconv.Itoa(n)
		if err := json.Unmarshal(text, &service); err != nil {
			return nil, err
		}
		at(service, "metadata")["name"] = pod
		at(service, "spec", "selector")[podLabel] = pod
		out = append(out, service)
	}
	return out, nil
}

// settle puts an object into the namespace.
func (v Values) settle(o object) {
	switch kindOf(o) {
	case "Namespace":
		at(o, "metadata")["name"] = v.Namespace
	case "ClusterRole":
	case "ClusterRoleBinding", "RoleBinding":
		for _, s := range o["subjects"].([]any) {
			s.(object)["namespace"] = v.Namespace
		}
	}
	if kind := kindOf(o); kind != "Namespace" && !strings.HasPrefix(kind, "Cluster") {
		at(o, "metadata")["namespace"] = v.Namespace
	}
}
