//go:build linux

package clusters

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAServiceOfOneClusterIsCalledFromAll(t *testing.T) {
	f := need(t)
	s := newShop(t, f, "one")
	home := f.cluster("us-west")
	s.run(home, "checkout", 2)
	for range 2 { // the second time it is already
		s.says(s.name("checkout")+" in every cluster", "export", "checkout", "-n", s.namespace, "--context", home.context)
	}
	s.answered("checkout", map[string]string{"us-west": "us-west", "eu-central": "us-west", "asia-east": "us-west"})
	for _, c := range f.clusters {
		eventually(t, time.Minute, c.name+" to resolve the name to its clusterset IP", func(ctx context.Context) error {
			found, err := c.lookup(ctx, s.name("checkout"))
			if err != nil {
				return err
			}
			i, err := c.MCS.MulticlusterV1beta1().ServiceImports(s.namespace).Get(ctx, "checkout", metav1.GetOptions{})
			if err == nil && !slices.Equal(found, i.Spec.IPs) {
				err = fmt.Errorf("found %v, the import has %v", found, i.Spec.IPs)
			}
			return err
		})
		eventually(t, time.Minute, c.name+" to call it by its name", func(ctx context.Context) error {
			return c.expect(ctx, "http://"+s.name("checkout"), "checkout-us-west-")
		})
	}
	s.withdraw(home, "checkout")
	for _, c := range f.clusters[1:] {
		s.gone(c, "checkout")
	}
	s.says("was not exported from "+home.context, "export", "checkout", "--remove", "-n", s.namespace, "--context", home.context)
}

func TestCallersUseTheirOwnClusterAndTheNextWhileThatHasNoPods(t *testing.T) {
	f := need(t)
	s := newShop(t, f, "all")
	for _, c := range f.clusters {
		s.open(c, "checkout", 1)
	}
	s.answered("checkout", own())

	t.Log("asia-east and us-west have none")
	s.scale(f.cluster("asia-east"), "checkout", 0)
	s.scale(f.cluster("us-west"), "checkout", 0)
	s.answered("checkout", map[string]string{"us-west": "eu-central", "eu-central": "eu-central", "asia-east": "eu-central"})

	t.Log("and have one again")
	s.scale(f.cluster("asia-east"), "checkout", 1)
	s.scale(f.cluster("us-west"), "checkout", 1)
	s.answered("checkout", own())
}
