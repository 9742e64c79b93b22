package imports

import (
	"fmt"
	"net/netip"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

func TestDNSIsToldOnlyClustersetIPsThatLeadToTheService(t *testing.T) {
	v := &VIPs{ips: map[catalog.ServiceName][]netip.Addr{}, pending: map[catalog.ServiceName]struct{}{}, ready: make(chan struct{}, 1)}
	imported := func(change func(*mcsv1beta1.ServiceImport)) *mcsv1beta1.ServiceImport {
		i := &mcsv1beta1.ServiceImport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout", Labels: map[string]string{LabelImport: "checkout"}}}
		i.Spec.Type, i.Spec.IPs = mcsv1beta1.ClusterSetIP, []string{"10.96.0.7", "fd96::7"}
		change(i)
		return i
	}
	says := func(status metav1.ConditionStatus, reason string) func(*mcsv1beta1.ServiceImport) {
		return func(i *mcsv1beta1.ServiceImport) {
			i.Status.Conditions = []metav1.Condition{{Type: string(mcsv1beta1.ServiceImportConditionReady), Status: status, Reason: reason}}
		}
	}
	for _, c := range []struct {
		name   string
		change func(*mcsv1beta1.ServiceImport)
		want   string
	}{
		{"new", func(*mcsv1beta1.ServiceImport) {}, "[10.96.0.7 fd96::7]"},
		{"ready", says(metav1.ConditionTrue, "Ready"), "[10.96.0.7 fd96::7]"},
		{"its Service is made anew", says(metav1.ConditionFalse, string(mcsv1beta1.ServiceImportReasonPending)), "[10.96.0.7 fd96::7]"},
		{"its Service is somebody else's", says(metav1.ConditionFalse, ReasonNameTaken), "[]"},
		{"ready again", says(metav1.ConditionTrue, "Ready"), "[10.96.0.7 fd96::7]"},
		{"no endpoint is of its family", says(metav1.ConditionFalse, string(mcsv1beta1.ServiceImportReasonIPFamilyNotSupported)), "[]"},
		{"another address", func(i *mcsv1beta1.ServiceImport) { i.Spec.IPs = []string{"10.96.0.8"} }, "[10.96.0.8]"},
		{"headless", func(i *mcsv1beta1.ServiceImport) { i.Spec.Type = mcsv1beta1.Headless }, "[]"},
		{"not ours", func(i *mcsv1beta1.ServiceImport) { i.Labels = nil }, "[]"},
	} {
		v.put(imported(c.change))
		if got := fmt.Sprint(v.Lookup(checkout)); got != c.want {
			t.Errorf("%s: found %s, expected %s", c.name, got, c.want)
		}
	}
	v.put(imported(func(*mcsv1beta1.ServiceImport) {}))
	v.drop(cache.DeletedFinalStateUnknown{Key: "shop/checkout"})
	<-v.Changed()
	if taken := v.Take(); len(v.Lookup(checkout)) != 0 || len(taken) != 1 || taken[0] != checkout || len(v.Take()) != 0 {
		t.Errorf("after the deletion: %v, changed %v", v.Lookup(checkout), taken)
	}
}
