//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/federator/federator/kube/api/v1alpha1"
)

// intents has users of us-west write a policy and a drill for checkout, which the
// agents know of with the rights that the manifests grant.
func (s *stage) intents() {
	west := s.world.Cluster("us-west")
	for _, c := range s.world.Clusters {
		s.must(installOwn(context.Background(), c))
	}
	own := west.Clients.Federator.FederatorV1alpha1()
	_, err := own.ResolutionPolicies(shop).Create(context.Background(), &v1alpha1.ResolutionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "nearest"}, Spec: v1alpha1.ResolutionPolicySpec{Service: "checkout", RegionOrder: v1alpha1.Labels{"eu-central", "us-west"}},
	}, metav1.CreateOptions{})
	s.must(err)
	// A cluster that did without the kinds for a while is asked for them once a minute.
	s.Until(150*time.Second, "the policy to be in force", func() error {
		p, err := own.ResolutionPolicies(shop).Get(context.Background(), "nearest", metav1.GetOptions{})
		if err == nil && (len(p.Status.Conditions) == 0 || p.Status.Conditions[0].Reason != v1alpha1.ReasonInForce) {
			err = fmt.Errorf("found %+v", p.Status)
		}
		return err
	})
	eu := s.Replicas("eu-central")[0]
	s.Until(soon, "the other region to list it", func() error {
		if out := eu.CLI("policy", "list").OK(s).Out; !strings.Contains(out, "us-west-1") || !strings.Contains(out, "shop/nearest") || !strings.Contains(out, "in force") {
			return fmt.Errorf("found %s", out)
		}
		return nil
	})
	_, err = own.Drills(shop).Create(context.Background(), &v1alpha1.Drill{ObjectMeta: metav1.ObjectMeta{Name: "nowhere"}, Spec: v1alpha1.DrillSpec{
		Service: "checkout", Scope: v1alpha1.DrillScope{Region: "mars"}, Shape: v1alpha1.DrillShape{Hold: "1m"},
	}}, metav1.CreateOptions{})
	s.must(err)
	// As for policies, if the last question fell between the two kinds.
	s.Until(150*time.Second, "the drill to say that it cannot begin", func() error {
		d, err := own.Drills(shop).Get(context.Background(), "nowhere", metav1.GetOptions{})
		if err == nil && (d.Status.Phase != v1alpha1.PhaseOver || !strings.Contains(d.Status.Detail, "there is no region mars")) {
			err = fmt.Errorf("found %+v", d.Status)
		}
		return err
	})
	s.told("us-west", shop, "ResolutionPolicy InForce", "Drill Unsafe")
	s.must(own.ResolutionPolicies(shop).Delete(context.Background(), "nearest", metav1.DeleteOptions{}))
	s.Until(soon, "the policy to be gone from the other region", func() error {
		if out := eu.CLI("policy", "list").OK(s).Out; strings.Contains(out, "shop/nearest") {
			return fmt.Errorf("found %s", out)
		}
		return nil
	})
}
