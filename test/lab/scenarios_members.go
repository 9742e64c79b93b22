package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
)

// memberScenarios are about who belongs to the federation. The last four are one
// after the other about the spare region: it is founded, removed, restored, and
// recovered.
func memberScenarios() []Scenario {
	return []Scenario{
		{Name: "join and leave storm", Do: storm, Bounds: Bounds{Whole: 30 * time.Second},
			Says: "Four replicas join one region at once, and when they are ready all leave at once; twice. Its voters change all the time."},
		{Name: "two founders at once", Do: founders,
			Says: "Two replicas join at once with tokens of two regions to found the same new region. One has to found it, and the other has to be told so or to join it."},
		{Name: "removed region comes back", Do: removed,
			Says: "A region is removed for good and comes back with its old disk. It has to say so and to serve its own clients; the others must not hear it. Emptied, it joins anew in a later epoch."},
		{Name: "region restored from backup", Do: restored,
			Says: "All of a region's disks are lost, and it is restored from a backup on a new machine: in a later epoch, with what the backup holds."},
		{Name: "quorum lost for good", Do: recovered,
			Says: "Two of a region's three replicas and their disks are lost. The one that is left says so, keeps serving, and carries on alone after region recover, in a later epoch, with all that was acknowledged; two new ones make it three again."},
	}
}

// leftWithin is longer than a replica that leaves may go on serving its region's
// Raft, which is 30 s.
const leftWithin = 40 * time.Second

func storm(s *Stage) {
	region := s.opt.Regions[0]
	for round := range 2 {
		newcomers := make([]*replica, 4)
		tokens := make([]string, len(newcomers))
		for i := range newcomers {
			newcomers[i] = s.Place(region, fmt.Sprintf("%s-guest-%d%d", region, round, i))
			tokens[i] = pick(s, s.Live("")).Token()
		}
		s.story.Say("begin: %s join at once", names(newcomers))
		s.each(newcomers, func(i int, r *replica) error {
			return fleet.Await(20*time.Second, func() error {
				if joined := r.Join(tokens[i]); joined.Code != 0 {
					return errors.New(joined.Err)
				}
				return nil
			})
		})
		for _, r := range newcomers {
			r.Start()
		}
		for _, r := range newcomers {
			r.Ready()
		}
		s.story.Say("begin: they leave at once")
		s.each(newcomers, func(_ int, r *replica) error {
			return fleet.Await(20*time.Second, func() error {
				if left := r.CLI("leave"); left.Code != 0 && r.Running() {
					return errors.New(left.Err)
				}
				return nil
			})
		})
		for _, r := range newcomers {
			if _, _, err := r.Ended(leftWithin); err != nil {
				s.Wrong(r.String(), "to end when it has left", err.Error())
				r.Kill()
			}
		}
	}
}

// each does the same for all at once and ends the test if any fails.
func (s *Stage) each(all []*replica, do func(i int, r *replica) error) {
	s.Helper()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, r := range all {
		wg.Go(func() {
			if err := do(i, r); err != nil {
				errs[i] = fmt.Errorf("%s: %w", r, err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		s.Fatal(err)
	}
}

// founders leaves the spare region with two replicas.
func founders(s *Stage) {
	spare := s.opt.Spare
	both := []*replica{s.Place(spare, spare+"-0"), s.Place(spare, spare+"-1")}
	tokens := []string{s.Live(s.opt.Regions[0])[0].Token(), s.Live(s.opt.Tight)[0].Token()}
	results := make([]fleet.Result, 2)
	s.story.Say("begin: %s join at once", names(both))
	s.each(both, func(i int, r *replica) error {
		results[i] = r.Join(tokens[i])
		return nil
	})
	founded := 0
	for i, r := range both {
		if results[i].Code == 0 {
			if strings.Contains(results[i].Out, "founded") {
				founded++
			}
			r.Start()
		}
	}
	if founded != 1 {
		s.Errorf("expected exactly one founder, found %d: %v", founded, results)
	}
	for i, r := range both {
		if results[i].Code == 0 {
			continue
		}
		s.Until(20*time.Second, "the other one to join by the same token", func() error {
			if again := r.Join(tokens[i]); again.Code != 0 {
				return errors.New(again.Err)
			}
			return nil
		})
		r.Start()
	}
	for _, r := range both {
		r.Ready()
	}
	s.Until(20*time.Second, "both to be in one Raft", func() error {
		a, err := status(both[0])
		if err != nil {
			return err
		}
		b, err := status(both[1])
		if err == nil && (a.GetRaft().GetLeader() == "" || a.GetRaft().GetLeader() != b.GetRaft().GetLeader()) {
			err = fmt.Errorf("their leaders are %q and %q", a.GetRaft().GetLeader(), b.GetRaft().GetLeader())
		}
		return err
	})
}

// spares are the replicas of the spare region that run, of those that were placed
// last under each name.
func (s *Stage) spares() []*replica {
	last := map[string]*replica{}
	for _, r := range s.Replicas(s.opt.Spare) {
		last[r.Name] = r
	}
	var all []*replica
	for _, name := range []string{s.opt.Spare + "-0", s.opt.Spare + "-1"} {
		if last[name] != nil && last[name].Running() {
			all = append(all, last[name])
		}
	}
	if len(all) == 0 {
		s.Fatalf("not played: region %s has no replica that runs; see the scenario before", s.opt.Spare)
	}
	return all
}

// epoch is that of a region as a replica knows it.
func epoch(asked *replica, region string) (uint64, error) {
	st, err := status(asked)
	if err != nil {
		return 0, err
	}
	for _, r := range st.GetRegions() {
		if r.GetName() == region && !r.GetRemoved() {
			return r.GetEpoch(), nil
		}
	}
	return 0, fmt.Errorf("%s does not know region %s", asked, region)
}

// later waits until every replica that should run knows a region in a later epoch.
func (s *Stage) later(region string, than uint64) {
	s.Helper()
	for _, r := range s.Live("") {
		s.Until(25*time.Second, fmt.Sprintf("%s to know %s in an epoch after %d", r, region, than), func() error {
			now, err := epoch(r, region)
			if err == nil && now <= than {
				err = fmt.Errorf("found epoch %d", now)
			}
			return err
		})
	}
}

func removed(s *Stage) {
	spare := s.opt.Spare
	all := s.spares()
	watcher := s.Live(s.opt.Tight)[0]
	before, err := epoch(watcher, spare)
	if err != nil {
		s.Fatal(err)
	}
	s.Pipe(manyEndpoints("lab/own", 1), "services", "apply", "-f", "-", "--socket", all[0].Sock).OK(s)
	own := func(r *replica, want int) func() error {
		return func() error {
			found, _, err := s.lookup(r, fleet.ServiceName("lab/own"))
			if err == nil && len(found) != want {
				err = fmt.Errorf("%s: expected %d addresses of lab/own, found %v", r, want, found)
			}
			return err
		}
	}
	s.Until(10*time.Second, "its own service to be known elsewhere", own(watcher, 1))
	for _, r := range all {
		r.Stop()
	}
	s.story.Say("begin: %s is removed", spare)
	s.Until(25*time.Second, spare+" to be removed", func() error {
		if r := watcher.CLI("region", "remove", spare); r.Code != 0 {
			return errors.New(r.Err)
		}
		return nil
	})
	for _, r := range all {
		r.Start()
	}
	s.Until(20*time.Second, spare+" to be told", func() error { return finds(all[0], "region-removed") })
	s.Until(10*time.Second, "its own clients to be served", own(all[0], 1))
	if err := own(watcher, 0)(); err != nil {
		s.Error(err)
	}
	if now, err := epoch(watcher, spare); err == nil {
		s.Errorf("%s: expected that %s is not known any more, found epoch %d", watcher, spare, now)
	}
	for _, r := range all {
		r.Kill()
	}
	s.story.Say("end: %s joins anew", spare)
	again := s.Place(spare, spare+"-0")
	s.moveTo(all[0], again)
	again.Join(watcher.Token()).OK(s)
	again.Start()
	again.Ready()
	s.later(spare, before)
}

// moveTo gives a replica the addresses of another one.
func (s *Stage) moveTo(old, again *replica) {
	again.Peer, again.Gossip, again.DNS, again.HTTP = old.Peer, old.Gossip, old.DNS, old.HTTP
}

// finds is nil if check finds a problem there.
func finds(r *replica, code string) error {
	found, err := r.Problems()
	if err == nil && found[code] == nil {
		err = fmt.Errorf("%s: expected %s, found %v", r, code, found)
	}
	return err
}

func restored(s *Stage) {
	spare := s.opt.Spare
	one := s.spares()[0]
	watcher := s.Live(s.opt.Tight)[0]
	key, err := identity.NewSealKey()
	if err != nil {
		s.Fatal(err)
	}
	keyFile := s.Write("backup.key", key.Secret()+"\n")
	backup := filepath.Join(s.Dir, spare+".backup")
	s.Pipe(manyEndpoints("lab/durable", 3), "services", "apply", "-f", "-", "--socket", one.Sock).OK(s)
	one.CLI("backup", backup, "--recipient", key.Recipient()).OK(s)
	s.Pipe(manyEndpoints("lab/late", 3), "services", "apply", "-f", "-", "--socket", one.Sock).OK(s)
	before, err := epoch(watcher, spare)
	if err != nil {
		s.Fatal(err)
	}
	s.story.Say("begin: %s loses all its disks", spare)
	one.Kill()
	if err := os.RemoveAll(one.Dir); err != nil {
		s.Fatal(err)
	}
	again := s.Place(spare, spare+"-0")
	s.moveTo(one, again)
	began := time.Now()
	s.Run(append([]string{"restore", backup, "--key-file", keyFile}, again.Placing()...)...).OK(s)
	again.Start()
	again.Ready()
	s.later(spare, before)
	s.Note("known again in its new epoch", time.Since(began))
	for _, r := range append(s.Live(""), again) {
		s.Until(20*time.Second, r.String()+" to have what the backup holds and nothing later", func() error { return knows(r, "lab/durable", "lab/late") })
	}
}

// knows is nil if a replica knows one service and not another one.
func knows(r *replica, one, other string) error {
	var list pb.ServicesResponse
	if err := r.Ask(&list, "services"); err != nil {
		return err
	}
	found := map[string]bool{}
	for _, svc := range list.GetServices() {
		found[svc.GetName()] = true
	}
	if !found[one] || found[other] {
		return fmt.Errorf("%s: expected the service %s and not %s, found %v", r, one, other, found)
	}
	return nil
}
