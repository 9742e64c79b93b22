package deploy

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/federator/federator/federation/catalog"
)

// Values say what differs between clusters.
type Values struct {
	// Region and Cluster are those of the replicas.
	Region, Cluster string
	// Namespace is where they run. Default "federator-system".
	Namespace string
	// Image is the container image. Default "federator.dev/federator:dev".
	Image string
	// Replicas is how many, 1 to 9. Default 3.
	Replicas int
	// Paused has none of them run: the StatefulSet is scaled to none, and Replicas does not
	// count.
	Paused bool
	// StorageClass of their disks. Empty means the cluster's default.
	StorageClass string
	// Ephemeral takes no disks at all, for tests.
	Ephemeral bool
	// Expose is pod, hostport or loadbalancer. Default "pod".
	Expose string
	// ServiceMonitor adds one for the Prometheus operator.
	ServiceMonitor bool
	// TrustDomain and RecoveryRecipient, given both, let the first pod found it.
	TrustDomain, RecoveryRecipient string
}

// The bounds of [Values.Replicas].
const (
	minReplicas = 1
	maxReplicas = 9
)

// withDefaults fills in what was left out.
func (v Values) withDefaults() Values {
	v.Namespace = cmp.Or(v.Namespace, defaultNamespace)
	v.Image = cmp.Or(v.Image, "federator.dev/federator:dev")
	if v.Replicas = cmp.Or(v.Replicas, 3); v.Paused {
		v.Replicas = 0
	}
	v.Expose = cmp.Or(v.Expose, "pod")
	return v
}

// validate reports everything that is wrong with values that have their defaults.
func (v Values) validate() error {
	var errs []error
	errs = append(errs, catalog.ValidateLabel("region", v.Region), catalog.ValidateCluster(v.Cluster), catalog.ValidateLabel("namespace", v.Namespace))
	if !v.Paused && (v.Replicas < minReplicas || v.Replicas > maxReplicas) {
		errs = append(errs, fmt.Errorf("replicas: expected %d to %d, found %d", minReplicas, maxReplicas, v.Replicas))
	}
	switch v.Expose {
	case "pod", "hostport", "loadbalancer":
	default:
		errs = append(errs, fmt.Errorf("expose: expected pod, hostport or loadbalancer, found %q", v.Expose))
	}
	if strings.ContainsAny(v.Image, " \t\n") {
		errs = append(errs, fmt.Errorf("image: expected NAME:TAG or NAME@DIGEST, found %q", v.Image))
	}
	if v.Ephemeral && v.StorageClass != "" {
		errs = append(errs, errors.New("a storage class and no storage exclude each other"))
	}
	if (v.TrustDomain == "") != (v.RecoveryRecipient == "") {
		errs = append(errs, errors.New("to found a trust domain takes its name and a recovery recipient; make one with federator recovery-key"))
	}
	return errors.Join(errs...)
}

// components are the folders that the values ask for.
func (v Values) components() []string {
	var out []string
	if v.Ephemeral {
		out = append(out, "emptydir")
	}
	if v.Expose != "pod" {
		out = append(out, v.Expose)
	}
	if v.ServiceMonitor {
		out = append(out, "servicemonitor")
	}
	return out
}
