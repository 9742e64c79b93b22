//go:build linux

package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
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

func TestAClusterThatIsThereAlreadyIsNotTouched(t *testing.T) {
	clusters, err := read(".")
	if err != nil {
		t.Fatal(err)
	}
	if err := free(clusters, []string{"kind", "other"}); err != nil {
		t.Errorf("nothing of ours is there: %v", err)
	}
	err = free(clusters, []string{"us-west", "mine"})
	if err == nil || !strings.HasSuffix(err.Error(), "kind delete clusters us-west") {
		t.Errorf("expected a refusal that names the one cluster, found %v", err)
	}
}
