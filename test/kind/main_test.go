//go:build linux

package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestTheClustersAreThoseOfTheManifestsAndNoNetworksOverlap(t *testing.T) {
	clusters, err := read(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(clusters) != 3 {
		t.Fatalf("expected three clusters, found %+v", clusters)
	}
	var seen []netip.Prefix
	for _, c := range clusters {
		if _, err := os.Stat(filepath.Join("../../deploy/clusters", c.Name, "kustomization.yaml")); err != nil {
			t.Errorf("expected manifests for %s: %v", c.Name, err)
		}
		for _, text := range []string{c.Networking.PodSubnet, c.Networking.ServiceSubnet} {
			network, err := netip.ParsePrefix(text)
			if err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
			for _, other := range seen {
				if network.Overlaps(other) {
					t.Errorf("%s: %s overlaps with %s", c.Name, network, other)
				}
			}
			seen = append(seen, network)
		}
	}
}
