package upgrade

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
)

// writeEvery is the pause between two writes of a writer.
const writeEvery = 100 * time.Millisecond

// writer writes policies and services in a region, each under a name of its own,
// so that one that is lost is not covered by the next.
type writer struct {
	region string
	world  *world
	end    func()

	mu                 sync.Mutex
	policies, services []string // acknowledged
	failed             int
}

// write starts a writer, which ends with the test at the latest.
func (w *world) write(region string) *writer {
	wr := &writer{region: region, world: w}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { wr.run(done) })
	wr.end = sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
	w.t.Cleanup(wr.end)
	return wr
}

// run asks the replicas that are up in turn.
func (wr *writer) run(done <-chan struct{}) {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if up := wr.world.risen(wr.region); len(up) > 0 {
			wr.one(up[n%len(up)], n)
		}
	}
}

func (wr *writer) one(r *fleet.Replica, n int) {
	name := fmt.Sprintf("%s/w%d", wr.region, n)
	service := n%4 == 3
	var err error
	if service {
		err = putService(r, name)
	} else {
		err = putPolicy(r, name)
	}
	wr.mu.Lock()
	defer wr.mu.Unlock()
	switch {
	case err != nil: // it may have taken effect all the same
		wr.failed++
	case service:
		wr.services = append(wr.services, name)
	default:
		wr.policies = append(wr.policies, name)
	}
}

func putService(r *fleet.Replica, name string) error {
	document := fmt.Sprintf("services:\n  - name: %s\n    ports: [{name: http, port: 80}]\n    endpoints: [{address: 10.0.0.1}]\n", name)
	return call(r, func(ctx context.Context, c pb.OperatorClient) error {
		_, err := c.ApplyServices(ctx, &pb.ApplyServicesRequest{Cluster: r.Cluster, Document: []byte(document)})
		return err
	})
}

func (wr *writer) acknowledged() (policies, services []string) {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	return slices.Clone(wr.policies), slices.Clone(wr.services)
}

func (wr *writer) refused() int {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	return wr.failed
}

// advances waits until a few more writes of each kind are acknowledged.
func (wr *writer) advances() {
	f := wr.world.fleet
	f.Helper()
	p, s := wr.acknowledged()
	f.Until(patience, "writes in "+wr.region+" to be acknowledged", func() error {
		policies, services := wr.acknowledged()
		if len(policies) < len(p)+3 || len(services) < len(s)+1 {
			return fmt.Errorf("%d policies and %d services more, %d writes failed so far", len(policies)-len(p), len(services)-len(s), wr.refused())
		}
		return nil
	})
}
