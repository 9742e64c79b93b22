//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"math"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// weighed wants a service of two clusters with an endpoint each at 90 % and 10 %. kube-proxy
// has no weights, so it becomes half and half: the metric says how far off the worst
// import of the cluster is, and the import itself that it is this one.
const (
	weighed  = "kind: Policy\nname: shop/weighed\nspec: {weights: {us-west: 90, eu-central: 10}, ramp: 0s}\n"
	halves   = `[{"locality":"us-west","wanted":90,"achieved":50},{"locality":"eu-central","wanted":10,"achieved":50}]`
	tooMuch  = "imported; 40 % of the traffic goes elsewhere than wanted"
	shareOff = "federator_kube_import_share_error_ratio"
)

func (s *stage) shares() {
	west, ctx := s.Replicas("us-west")[0], context.Background()
	off := func(want float64) {
		s.Helper()
		s.Until(soon, fmt.Sprintf("%s to be %v", shareOff, want), func() error {
			if found, err := metric(west, shareOff); err != nil || math.Abs(found-want) > 0.001 {
				return fmt.Errorf("found %v, %v", found, err)
			}
			return nil
		})
	}
	off(0)
	for i, region := range []string{"us-west", "eu-central"} {
		s.export(region, "weighed", fmt.Sprintf("10.%d.0.9", i))
	}
	s.imported("us-west", "weighed", "eu-central-1", "us-west-1")
	s.Pipe(weighed, "policy", "apply", "-f", "-", "--socket", west.Sock).OK(s)
	off(0.4)
	s.Until(soon, "the import to say that it is the one", func() error {
		i, err := s.world.Cluster("us-west").Clients.MCS.MulticlusterV1beta1().ServiceImports(shop).Get(ctx, "weighed", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if found := i.Annotations["federator.dev/shares"]; found != halves || len(i.Status.Conditions) != 1 || !strings.HasPrefix(i.Status.Conditions[0].Message, tooMuch) {
			return fmt.Errorf("found %s and %+v", found, i.Status.Conditions)
		}
		return nil
	})
	for _, region := range []string{"us-west", "eu-central"} {
		s.must(s.exports(region).Delete(ctx, "weighed", metav1.DeleteOptions{}))
	}
	s.gone("us-west", "weighed")
	off(0)
	west.CLI("policy", "delete", "shop/weighed").OK(s)
}
