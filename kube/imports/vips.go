package imports

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/kube"
)

// VIPs are the clusterset IPs of the own cluster's imports: what clients in this
// cluster are answered instead of endpoints. Every replica of the cluster has them,
// not only its writer.
type VIPs struct {
	mu      sync.RWMutex
	ips     map[catalog.ServiceName][]netip.Addr
	pending map[catalog.ServiceName]struct{}
	ready   chan struct{}
	synced  cache.InformerSynced
}

// NewVIPs follows the ServiceImports of a cluster, whose informers must not run yet.
func NewVIPs(c *kube.Cluster) (*VIPs, error) {
	v := &VIPs{
		ips: map[catalog.ServiceName][]netip.Addr{}, pending: map[catalog.ServiceName]struct{}{}, ready: make(chan struct{}, 1),
	}
	handler, err := c.MCSInformers.Multicluster().V1beta1().ServiceImports().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    v.put,
		UpdateFunc: func(_, next any) { v.put(next) },
		DeleteFunc: v.drop,
	})
	if err != nil {
		return nil, fmt.Errorf("kubernetes imports: clusterset IPs: %w", err)
	}
	v.synced = handler.HasSynced
	return v, nil
}

// Lookup returns the clusterset IPs of a service, one or two; none if it is headless
// or not imported here. The caller must not change them.
func (v *VIPs) Lookup(name catalog.ServiceName) []netip.Addr {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.ips[name]
}

// Complete reports whether all that the API server had at first is there.
func (v *VIPs) Complete() bool { return v.synced() }

// Changed is readable when there are services whose IPs have changed; [VIPs.Take]
// returns them. It is for one reader.
func (v *VIPs) Changed() <-chan struct{} { return v.ready }

// Take returns the services whose IPs have changed since it was last called.
func (v *VIPs) Take() []catalog.ServiceName {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]catalog.ServiceName, 0, len(v.pending))
	for name := range v.pending {
		out = append(out, name)
	}
	clear(v.pending)
	return out
}

func (v *VIPs) put(object any) {
	i, ok := object.(*mcsv1beta1.ServiceImport)
	if !ok {
		return
	}
	var ips []netip.Addr
	if ours(i, i.Name) && i.DeletionTimestamp == nil && i.Spec.Type == mcsv1beta1.ClusterSetIP && !nowhere(i) {
		for _, text := range i.Spec.IPs {
			if ip, err := netip.ParseAddr(text); err == nil {
				ips = append(ips, ip)
			}
		}
	}
	v.set(catalog.ServiceName{Namespace: i.Namespace, Name: i.Name}, ips)
}

// nowhere reports whether the IPs of an import are known to lead nowhere, or to
// somebody else's endpoints: clients had better have those of the exporters.
func nowhere(i *mcsv1beta1.ServiceImport) bool {
	return slices.ContainsFunc(i.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == string(mcsv1beta1.ServiceImportConditionReady) && c.Status == metav1.ConditionFalse &&
			(c.Reason == ReasonNameTaken || c.Reason == string(mcsv1beta1.ServiceImportReasonIPFamilyNotSupported))
	})
}

func (v *VIPs) drop(object any) {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
	if err != nil {
		return
	}
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	v.set(catalog.ServiceName{Namespace: namespace, Name: name}, nil)
}

func (v *VIPs) set(name catalog.ServiceName, ips []netip.Addr) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if slices.Equal(v.ips[name], ips) {
		return
	}
	if v.ips[name] = ips; len(ips) == 0 {
		delete(v.ips, name)
	}
	v.pending[name] = struct{}{}
	select {
	case v.ready <- struct{}{}:
	default:
	}
}
