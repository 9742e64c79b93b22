package checker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/checker"
	"github.com/federator/federator/test/lab/mutant"
)

const (
	checkout = "shop/checkout"
	catalog  = "shop/catalog"
)

// leafLifetime is the shortest that the configuration takes.
const leafLifetime = time.Minute

// aging lives longer than its certificates.
func aging(t *testing.T, f *played) checker.Report {
	f.Config = f.Write("agent.yaml", fmt.Sprintf("leafLifetime: %s\n", leafLifetime))
	f.Grow(1, "west", "east")
	for _, r := range f.Replicas("") { // the first certificates do not heed the config
		f.stop(r)
		if err := os.Remove(filepath.Join(r.Dir, "identity", "svid.pem")); err != nil {
			t.Fatal(err)
		}
		r.Start()
		r.Ready()
		f.Until(patience, r.String()+" to have a short certificate", func() error {
			s, err := r.Status()
			if left := time.Until(s.GetCertificate().GetNotAfter().AsTime()); err == nil && (left > leafLifetime || left < 0) {
				err = fmt.Errorf("its certificate is good for %v", left)
			}
			return err
		})
	}
	return connected(t, f, leafLifetime+10*time.Second)
}

// This comes first, because it takes longest: the others are played beside it.
func TestACertificateThatIsNotRenewedFailsHandshakes(t *testing.T) {
	control(t, aging, caught{mutant.NeverRenews(), "expired"})
}

// registers writes and reads in a region that loses its leader.
func registers(plain bool) scenario {
	return func(t *testing.T, f *played) checker.Report {
		f.Grow(3, "west")
		leader := f.Voters("west")
		c := checker.NewLinearizability(checker.LinearizabilityOptions{Region: "west", Targets: targets(f.Replicas("")), Plain: plain, Seed: 1, Artefacts: f.Dir})
		return during(t, c, func() {
			time.Sleep(2 * time.Second)
			f.kill(leader)
			time.Sleep(2 * time.Second)
			leader.Start()
			leader.Ready()
			time.Sleep(time.Second)
		})
	}
}

func TestAWriteThatIsAcknowledgedAndNotDoneIsNotLinearizable(t *testing.T) {
	control(t, registers(false), caught{mutant.SkipsWrites(), "order of its reads and writes"})
}

func TestAConsistentReadThatIsNotIsCaught(t *testing.T) {
	control(t, registers(false), caught{mutant.AnswersFromMemory(), "order of its reads and writes"})
}

func TestReadsThatMayBeOldAreNotLinearizableAndThereIsAPictureOfIt(t *testing.T) {
	lab(t)
	t.Parallel()
	pictured := func(t *testing.T, f *played) checker.Report {
		report := registers(true)(t, f)
		for _, a := range report.Artefacts { // which go with the fleet
			if info, err := os.Stat(a); err != nil || info.Size() == 0 {
				t.Errorf("expected a picture, found %v, %v", info, err)
			}
		}
		return report
	}
	report := plays(t, trueBuild(), pictured, func(r checker.Report) bool { return r.Total > 0 })
	if (report.Total == 0 || len(report.Artefacts) != 1) && !t.Failed() {
		t.Errorf("expected a violation with a picture, found %v", report)
	}
}

// kept writes in two regions, crashes the first and audits.
func kept(t *testing.T, f *played) checker.Report {
	west := f.Init("west")
	f.Join(west, "east", "east-0")
	all := targets(f.Replicas(""))
	c := checker.NewAcknowledged(checker.AcknowledgedOptions{Targets: all, Pace: 20 * time.Millisecond})
	var tokens pb.ListTokensResponse
	if err := west.Ask(&tokens, "token", "list"); err != nil || len(tokens.GetTokens()) != 1 {
		t.Fatalf("expected one token, found %v, %v", &tokens, err)
	}
	c.Redeemed("west", tokens.GetTokens()[0].GetId(), "east/east-0")
	during(t, c, func() { // the mutant forgets the end of a log that is long enough
		f.Until(patience, "200 writes to be acknowledged", func() error {
			if n := c.Report().Checked.Value; n < 200 {
				return fmt.Errorf("found %.0f", n)
			}
			return nil
		})
	})
	f.kill(west)
	west.Start()
	west.Ready()
	// A stream that failed is tried again after up to six seconds. A mutant's may stay
	// broken: what is missing is for the audit to say.
	whole, there := time.Minute, time.Minute
	if f.Binary() != trueBuild() {
		whole, there = 20*time.Second, 8*time.Second
	}
	_ = fleet.Await(whole, func() error {
		s, err := f.Replicas("east")[0].RegionStatus("west")
		if err == nil && (s.GetFreshness() != "fresh" || s.GetStreamError() != "") {
			err = fmt.Errorf("east sees west as %v", s)
		}
		return err
	})
	c.Audit(t.Context(), there)
	return c.Report()
}

func TestAnAcknowledgedWriteThatARestartLosesIsMissed(t *testing.T) {
	control(t, kept, caught{mutant.ForgetsAtRestart(), "which was acknowledged"})
}

// gone deletes a service while the other region looks, and another one while it
// does not.
func gone(t *testing.T, f *played) checker.Report {
	endpoints := f.Endpoints(2)
	with := func(services ...string) string {
		text := "services:\n"
		for _, s := range services {
			text += fmt.Sprintf("  - name: %s\n    ports: [{name: http, port: %d}]\n    endpoints: [{address: %s}, {address: %s}]\n",
				s, fleet.EndpointPort, endpoints[0].Address, endpoints[1].Address)
		}
		return text
	}
	truth := func(services ...string) checker.Truth {
		out := checker.Truth{Services: map[string]map[string]map[string]string{}}
		for _, s := range services {
			out.Services[s] = map[string]map[string]string{"west": {endpoints[0].Address: "healthy", endpoints[1].Address: "healthy"}}
		}
		return out
	}
	f.Serve("west", with(checkout, catalog, "shop/cart"))
	f.Grow(1, "west", "east")
	west, east := f.Replicas("west")[0], f.Replicas("east")[0]
	c := checker.NewConvergence(targets(f.Replicas("")))
	c.Await(t.Context(), truth(checkout, catalog, "shop/cart"), 20*time.Second)

	f.Serve("west", with(checkout, catalog))
	c.Await(t.Context(), truth(checkout, catalog), 10*time.Second)

	f.stop(east)
	f.Serve("west", with(checkout))
	f.Until(patience, "west to take its file", func() error { return services(west, 1) })
	f.stop(west) // and forgets its last changes, so that east needs a complete snapshot
	west.Start()
	west.Ready()
	east.Start()
	east.Ready()
	c.Await(t.Context(), truth(checkout), 10*time.Second)
	return c.Report()
}

func services(r *fleet.Replica, n int) error {
	var found pb.ServicesResponse
	err := r.Ask(&found, "services")
	if err == nil && len(found.GetServices()) != n {
		err = fmt.Errorf("expected %d services, found %v", n, found.GetServices())
	}
	return err
}

func TestADeletedServiceThatStaysInAViewIsADifference(t *testing.T) {
	control(t, gone, caught{mutant.KeepsDeleted(), "no endpoint"}, caught{mutant.KeepsDeletedInSnapshots(), "no endpoint"})
}

// sick has an endpoint fail and come back, and a replica go and come back.
func sick(t *testing.T, f *played) checker.Report {
	var known []checker.Endpoint
	endpoints := map[string][]*fleet.Endpoint{}
	for _, region := range []string{"west", "east"} {
		endpoints[region] = f.Endpoints(2)
		f.Serve(region, fleet.ServicesFile(checkout, endpoints[region]...))
		for _, e := range endpoints[region] {
			known = append(known, checker.Endpoint{Name: fleet.ServiceName(checkout), Address: e.Address, Region: region},
				checker.Endpoint{Name: fleet.PinnedName(checkout, region), Address: e.Address, Region: region, Pinned: true})
		}
	}
	f.Grow(1, "west", "east")
	for region, e := range endpoints {
		f.AnswersAll(patience, f.Replicas(""), checkout, region, e...)
	}
	line := &checker.Timeline{}
	c := checker.NewDNSProber(checker.DNSOptions{
		Targets: targets(f.Replicas("")), Endpoints: known, Every: 200 * time.Millisecond, Timeline: line,
		Bounds: checker.Bounds{Dead: 3 * time.Second, Cut: 5 * time.Second, Back: 3 * time.Second, Up: 500 * time.Millisecond},
	})
	return during(t, c, func() {
		time.Sleep(time.Second)
		endpoints["west"][0].Fail()
		line.Begin(checker.Dead, endpoints["west"][0].Address)
		time.Sleep(8 * time.Second) // of which five are to notice it in
		line.End(checker.Dead, endpoints["west"][0].Address)
		endpoints["west"][0].Recover()
		east := f.Replicas("east")[0]
		line.Begin(checker.Down, east.String())
		f.kill(east)
		east.Start()
		east.Ready()
		line.End(checker.Down, east.String())
		time.Sleep(2 * time.Second)
	})
}

func TestAnEndpointThatIsNamedLongAfterItsDeathIsAWrongAnswer(t *testing.T) {
	control(t, sick, caught{mutant.IgnoresFlips(), "had been dead"})
}

// connected has two regions connected to each other for so long.
func connected(t *testing.T, f *played, d time.Duration) checker.Report {
	var c *checker.MTLSProber
	f.Until(patience, "operators of both regions", func() (err error) {
		c, err = checker.NewMTLSProber(context.Background(), checker.MTLSOptions{Targets: targets(f.Replicas("")), Every: time.Second})
		return err
	})
	return during(t, c, func() { time.Sleep(d) })
}

func standing(t *testing.T, f *played) checker.Report {
	f.Grow(1, "west", "east")
	return connected(t, f, 8*time.Second)
}

func TestALongConnectionThatEndsIsMissed(t *testing.T) {
	control(t, standing, caught{mutant.DropsConnections(), "a long connection that stays"})
}

func growing(t *testing.T, f *played) checker.Report {
	f.Init("west")
	c := checker.NewGrowth(checker.GrowthOptions{Targets: targets(f.Replicas("")), Every: 500 * time.Millisecond, WarmUp: 5 * time.Second, Least: 10 * time.Second})
	return during(t, c, func() { time.Sleep(20 * time.Second) })
}

func TestGoroutinesThatNobodyEndsAreGrowth(t *testing.T) {
	control(t, growing, caught{mutant.LeaksGoroutines(), "goroutines"})
}

// silent has a region die and come back.
func silent(t *testing.T, f *played) checker.Report {
	f.Grow(1, "west", "east", "south")
	for _, r := range f.Replicas("") {
		f.Until(patience, r.String()+" to find nothing but too few replicas", func() error {
			found, err := r.Problems()
			if _, few := found["few-replicas"]; err == nil && (!few || len(found) != 1) {
				err = fmt.Errorf("found %v", found)
			}
			return err
		})
	}
	c := checker.NewProblems(targets(f.Replicas("")), time.Second)
	if err := c.Baseline(t.Context()); err != nil {
		t.Fatal(err)
	}
	return during(t, c, func() {
		east := f.Replicas("east")[0]
		f.kill(east)
		lost := checker.Expectation{
			By:    func(t checker.Target) bool { return t.Region != "east" },
			Codes: []string{"region-silent", "region-out", "region-control-plane-lost"}, Subject: "region east",
		}
		c.Named(t.Context(), 8*time.Second, lost)
		c.Named(t.Context(), 0, lost)
		east.Start()
		east.Ready()
		c.Quiet(t.Context(), 20*time.Second)
	})
}

func TestALostRegionThatCheckDoesNotNameIsMissed(t *testing.T) {
	control(t, silent, caught{mutant.OverlooksSilence(), "of region east"})
}
