package deploy

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"

	"sigs.k8s.io/yaml"
)

//go:embed clusters/crds/*.yaml
var crds embed.FS

// Definitions returns the CustomResourceDefinitions of clusters/crds as YAML.
func Definitions() ([]byte, error) {
	const dir = "clusters/crds/"
	text, err := fs.ReadFile(crds, dir+"kustomization.yaml")
	if err != nil {
		return nil, err
	}
	var f folder
	if err := yaml.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	var all [][]byte
	for _, name := range f.Resources {
		text, err := fs.ReadFile(crds, dir+name)
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return bytes.Join(all, []byte("\n---\n")), nil
}
