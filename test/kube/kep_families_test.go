//go:build linux

package kube_test

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// ipFamilies has services without endpoints, so that their Services alone say.
func ipFamilies(x *scene) {
	single := func(family corev1.IPFamily) corev1.ServiceSpec {
		spec := web()
		spec.IPFamilies = []corev1.IPFamily{family}
		return spec
	}
	both := web()
	both.IPFamilyPolicy = new(corev1.IPFamilyPolicyRequireDualStack)
	reachedBy := func(name string, want ...corev1.IPFamily) []string {
		x.Helper()
		return x.importedAs(asia, name, func(i *mcs.ServiceImport) error {
			if !slices.Equal(i.Spec.IPFamilies, want) || len(i.Spec.IPs) != len(want) {
				return fmt.Errorf("expected IPs of %v, found %v of %v", want, i.Spec.IPs, i.Spec.IPFamilies)
			}
			return nil
		}).Spec.IPs
	}
	for name, spec := range map[string]corev1.ServiceSpec{"four": single("IPv4"), "six": single("IPv6"), "both": both} {
		x.put(west, name, spec)
		x.export(west, name)
	}
	was := reachedBy("four", "IPv4")
	reachedBy("six", "IPv6")
	reachedBy("both", "IPv4", "IPv6")
	x.put(eu, "four", single("IPv6"))
	x.export(eu, "four")
	now := reachedBy("four", "IPv4", "IPv6")
	x.unexport(eu, "four")
	x.imported(asia, "four", west)
	if kept := reachedBy("four", "IPv4", "IPv6"); now[0] != was[0] || !slices.Equal(now, kept) {
		x.Errorf("expected IPs for the life of the import, found %v, then %v, then %v", was, now, kept)
	}
}
