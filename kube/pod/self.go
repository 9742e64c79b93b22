package pod

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Self is what a pod knows of itself, from its environment (the downward API).
type Self struct {
	// Name and Namespace are the pod's; UID tells it from an earlier one of the name.
	Name, Namespace, UID string
	// Node is the node it runs on.
	Node string
	// IP is the pod's address, HostIP the node's.
	IP, HostIP netip.Addr
}

// FromEnvironment reads POD_NAME, POD_NAMESPACE, POD_UID, POD_IP, HOST_IP and
// NODE_NAME, and reports everything that is wrong with them.
func FromEnvironment(env func(string) string) (Self, error) {
	self := Self{Name: env("POD_NAME"), Namespace: env("POD_NAMESPACE"), UID: env("POD_UID"), Node: env("NODE_NAME")}
	var errs []error
	for name, value := range map[string]string{"POD_NAME": self.Name, "POD_NAMESPACE": self.Namespace, "POD_UID": self.UID, "NODE_NAME": self.Node} {
		if value == "" {
			errs = append(errs, fmt.Errorf("%s is not set", name))
		}
	}
	for name, field := range map[string]*netip.Addr{"POD_IP": &self.IP, "HOST_IP": &self.HostIP} {
		address, err := netip.ParseAddr(env(name))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		*field = address
	}
	if self.Name != "" {
		_, _, err := self.Ordinal()
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return self, fmt.Errorf("expected to run in a pod of a StatefulSet with its fields in the environment; see federator manifests: %w", err)
	}
	return self, nil
}

// Ordinal returns the StatefulSet that the pod is of, and its number there.
func (s Self) Ordinal() (set string, ordinal int, err error) { return ordinalOf(s.Name) }

func ordinalOf(name string) (set string, ordinal int, err error) {
	i := strings.LastIndexByte(name, '-')
	if i > 0 {
		ordinal, err = strconv.Atoi(name[i+1:])
	}
	if i <= 0 || err != nil || ordinal < 0 {
		return "", 0, fmt.Errorf("pod %q: expected the name of a pod of a StatefulSet, such as federator-0", name)
	}
	return name[:i], ordinal, nil
}
