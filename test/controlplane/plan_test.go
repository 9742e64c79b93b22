//go:build linux

package controlplane

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNoTwoClustersOfAMachineHaveAnAddressOrPortInCommon(t *testing.T) {
	ports := map[uint16]string{}
	var prefixes []netip.Prefix
	add := func(p netip.Prefix) {
		t.Helper()
		for _, other := range prefixes {
			if p.Overlaps(other) {
				t.Errorf("%s overlaps %s", p, other)
			}
		}
		prefixes = append(prefixes, p)
	}
	for world := range maxWorlds {
		add(hostPrefix(world).Masked())
		for cluster := range maxClusters {
			p := planOf(world, cluster)
			add(p.pods)
			if world == 0 { // they never leave a node, and are the same in every world
				add(p.services)
				add(p.services6)
			}
			if !hostPrefix(world).Contains(p.node) || p.node == hostPrefix(world).Addr() {
				t.Errorf("expected the node in %s, found %s", hostPrefix(world), p.node)
			}
			for _, port := range p.ports {
				if other := ports[port]; other != "" || port < firstPort || port >= 32768 {
					t.Errorf("world %d, cluster %d: port %d is out of bounds or that of %s", world, cluster, port, other)
				}
				ports[port] = fmt.Sprintf("world %d, cluster %d", world, cluster)
			}
		}
	}
}

func TestOptionsThatMakeNoWorldAreRefused(t *testing.T) {
	for want, o := range map[string]Options{
		"expected 1 to 6 clusters, found 0": {},
		"expected 1 to 6 clusters, found 7": {Clusters: strings.Split("abcdefg", "")},
		"names that differ":                 {Clusters: []string{"a", "a"}},
		"expected Nodes with DNS":           {Clusters: []string{"a"}, DNS: true},
	} {
		if err := o.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: expected an error that says %q, found %v", o, want, err)
		}
	}
	err := Options{Clusters: []string{"a"}}.validate()
	if root := os.Geteuid() == 0; root != (err == nil) {
		t.Errorf("root %v: found %v", root, err)
	}
}

func TestAnImageIsATarOfItsProgramItsConfigurationAndItsNames(t *testing.T) {
	dir := t.TempDir()
	program, path := filepath.Join(dir, "program"), filepath.Join(dir, "image.tar")
	ok(t, os.WriteFile(program, []byte("a program"), 0o755))
	ok(t, WriteImage(path, Image{Names: []string{"a.test/b:1"}, Program: program, Args: []string{"serve"}, User: "65532"}))
	files := map[string]string{}
	f, err := os.Open(path)
	ok(t, err)
	defer f.Close()
	readTar(t, f, files)
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	ok(t, json.Unmarshal([]byte(files["manifest.json"]), &manifest))
	if len(manifest) != 1 || manifest[0].RepoTags[0] != "a.test/b:1" || len(manifest[0].Layers) != 1 {
		t.Fatalf("expected one image of one layer named a.test/b:1, found %s", files["manifest.json"])
	}
	if config := files[manifest[0].Config]; !strings.Contains(config, `"User":"65532"`) || !strings.Contains(config, `"Cmd":["serve"]`) {
		t.Errorf("expected the user and the arguments in the configuration, found %s", config)
	}
	layer := map[string]string{}
	readTar(t, strings.NewReader(files[manifest[0].Layers[0]]), layer)
	if len(layer) != 1 || layer["program"] != "a program" {
		t.Errorf("expected a layer of the program, found %q", layer)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "layer-*")); err != nil || len(left) != 0 {
		t.Errorf("expected no file but the image to be left, found %q, %v", left, err)
	}
}

func readTar(t *testing.T, r io.Reader, files map[string]string) {
	t.Helper()
	for tr := tar.NewReader(r); ; {
		header, err := tr.Next()
		if err == io.EOF {
			return
		}
		ok(t, err)
		text, err := io.ReadAll(tr)
		ok(t, err)
		files[header.Name] = string(text)
	}
}
