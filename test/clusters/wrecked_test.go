//go:build linux

package clusters

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// This comes last: what other tests look back at, such as the audit log, goes with the
// cluster.
func TestAClusterThatIsBuiltAnewTakesItsPlaceAgainAndNothingWrongIsServedMeanwhile(t *testing.T) {
	f := needWorld(t)
	s := newShop(t, f, "anew")
	west, lost := f.cluster("us-west"), f.cluster("asia-east")
	for _, c := range f.clusters {
		s.open(c, "checkout", 1)
	}
	s.answered("checkout", own())
	began := time.Now()
	took := func(what string) { t.Logf("%s after %s", what, time.Since(began).Round(100*time.Millisecond)) }

	stop := s.callAll("checkout", west, f.cluster("eu-central"))
	ok(t, lost.real.Rebuild(t.Context()))
	lost.reopen()
	ok(t, lost.real.Load(t.Context(), f.image))
	took("it is built anew")

	install := []string{"join", "--context", lost.context, "--to", west.context, "--install"}
	eventually(t, time.Minute, "a join to be refused, with what to do", func(ctx context.Context) error {
		_, err := f.federator(ctx, install...)
		for _, want := range []string{"(region-taken)", "federator unlink --region asia-east --from us-west"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				return fmt.Errorf("expected to hear of %q, found %w", want, err)
			}
		}
		return nil
	})
	s.says("asia-east is out of the federation", "unlink", "--region", lost.name, "--from", west.context, "--yes")
	took("the old one is out")
	s.says("is linked with us-west", install...)
	took("the new one is linked")
	ok(t, lost.makeNamespace(t.Context(), s.namespace))
	ok(t, f.equip(t.Context(), lost))
	s.open(lost, "checkout", 1)
	s.answered("checkout", own())
	took("its own pods serve its callers")
	s.right(stop())
	f.allKnow(t, lost, replicas)

	t.Log("and others send their callers there")
	s.scale(west, "checkout", 0)
	s.prefer(west, "checkout", lost)
	s.answered("checkout", map[string]string{"us-west": "asia-east", "eu-central": "eu-central", "asia-east": "asia-east"})
	s.scale(west, "checkout", 1)
	ok(t, f.quiet(t.Context()))
	took("all is as it was")
}

// reopen takes over the clients of a cluster that was built anew.
func (c *cluster) reopen() {
	c.config, c.Cluster, c.dynamic = c.real.Config, c.real.Clients, c.real.Dynamic
}
