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
		{Name: "two founders at once", Do: onSpare(founders),
			Says: "Two replicas join at once with tokens of two regions to found the same new region. One has to found it, and the other has to be told so or to join it."},
		{Name: "removed region comes back", Do: onSpare(removed),
			Says: "A region is removed for good and comes back with its old disk. It has to say so and to serve its own clients; the others must not hear it. Emptied, it joins anew in a later epoch."},
		{Name: "region restored from backup", Do: onSpare(restored),
			Says: "All of a region's disks are lost, and it is restored from a backup on a new machine: in a later epoch, with what the backup holds."},
		{Name: "quorum lost for good", Do: onSpare(recovered),
			Says: "Two of a region's three replicas and their disks are lost. The one that is left says so, keeps serving, and carries on alone after region recover, in a later epoch, with all that was acknowledged; two new ones make it three again."},
	}
}

// leftWithin is longer than a replica that leaves may go on serving its region's
// Raft, which is 30 s.
const leftWithin = 40 * time.Second

func storm(s *Stage) {
	for round := range 2 {
		s.comeAndGo(s.opt.Regions[0], s.anew(fmt.Sprintf("guest-%d", round)))
	}
}

// comeAndGo has four replicas join a region at once, and leave at once. If that ends
// the test, they are taken out, so that the region is whole without them.
func (s *Stage) comeAndGo(region, name string) {
	newcomers := make([]*replica, 4)
	tokens := make([]string, len(newcomers))
	for i := range newcomers {
		newcomers[i] = s.Place(region, fmt.Sprintf("%s-%s-%d", region, name, i))
		tokens[i] = s.token(pick(s, s.Live("")))
	}
	left := false
	defer func() {
		if !left {
			s.expel(newcomers)
		}
	}()
	s.story.Say("begin: %s join at once", names(newcomers))
	s.each(newcomers, func(i int, r *replica) error { return r.JoinBy(tokens[i]) })
	for _, r := range newcomers {
		r.Start()
	}
	for _, r := range newcomers {
		r.Ready()
	}
	s.story.Say("begin: they leave at once")
	s.each(newcomers, func(_ int, r *replica) error {
		return fleet.Await(patience, func() error {
			if left := r.CLI("leave"); left.Code != 0 && r.Running() {
				return errors.New(left.Err)
			}
			return nil
		})
	})
	left = true
	for _, r := range newcomers {
		if _, _, err := r.Ended(leftWithin); err != nil {
			s.Wrong(r.String(), "to end when it has left", err.Error())
			r.Kill()
		}
	}
}

// expel ends replicas, and takes out of their region those that belong to it.
func (s *Stage) expel(all []*replica) {
	for _, r := range all {
		if r.Running() {
			r.Kill()
		}
		s.gone(s.Live(r.Region)[0], []string{"leave", r.Name})
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

// founders leaves the spare region with two replicas. It begins without the region,
// which there is if it is played again.
func founders(s *Stage) {
	if err := s.abandon(); err != nil {
		s.Fatal(err)
	}
	spare := s.opt.Spare
	both := []*replica{s.Place(spare, spare+"-0"), s.Place(spare, spare+"-1")}
	tokens := []string{s.token(s.Live(s.opt.Regions[0])[0]), s.token(s.Live(s.opt.Tight)[0])}
	results := make([]fleet.Result, 2)
	s.story.Say("begin: %s join at once", names(both))
	s.each(both, func(i int, r *replica) error {
		results[i] = r.Join(tokens[i])
		return nil
	})
	for i, r := range both {
		if results[i].Code == 0 {
			r.Start()
		}
	}
	for i, r := range both {
		if results[i].Code == 0 {
			continue
		}
		s.done("the other one to join by the same token", func() fleet.Result {
			results[i] = r.Join(tokens[i])
			return results[i]
		})
		r.Start()
	}
	founded := 0 // a founder whose first answer was lost founds by its second try
	for _, said := range results {
		founded += strings.Count(said.Out, "founded")
	}
	if founded != 1 {
		s.Errorf("expected exactly one founder, found %d: %v", founded, results)
	}
	for _, r := range both {
		r.Ready()
	}
	s.Until(patience, "both to be in one Raft", func() error {
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

// epochBy waits until a replica knows a region, and returns its epoch.
func (s *Stage) epochBy(asked *replica, region string) (n uint64) {
	s.Helper()
	s.Until(patience, asked.String()+" to know "+region, func() (err error) {
		n, err = epoch(asked, region)
		return err
	})
	return n
}

// later waits until every replica that should run knows a region in a later epoch.
func (s *Stage) later(region string, than uint64) {
	s.Helper()
	for _, r := range s.Live("") {
		s.Until(patience, fmt.Sprintf("%s to know %s in an epoch after %d", r, region, than), func() error {
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
	all := s.spares(2)
	watcher := s.Live(s.opt.Tight)[0]
	before := s.epochBy(watcher, spare)
	service := s.anew("lab/own")
	s.done("a service in "+spare, func() fleet.Result { return s.applied(all[0], service, 1) })
	own := func(r *replica, want int) func() error {
		return func() error {
			found, _, err := s.lookup(r, fleet.ServiceName(service))
			if err == nil && len(found) != want {
				err = fmt.Errorf("%s: expected %d addresses of %s, found %v", r, want, service, found)
			}
			return err
		}
	}
	s.Until(patience, "its own service to be known elsewhere", own(watcher, 1))
	for _, r := range all {
		r.Stop()
	}
	s.story.Say("begin: %s is removed", spare)
	s.Until(patience, spare+" to be removed", func() error { return remove(watcher, spare) })
	for _, r := range all {
		r.Start()
	}
	s.Until(patience, spare+" to be told", func() error { return finds(all[0], "region-removed") })
	s.Until(patience, "its own clients to be served", own(all[0], 1))
	if found := s.addresses(watcher, fleet.ServiceName(service)); len(found) > 0 {
		s.Errorf("%s: expected no address of %s, found %v", watcher, service, found)
	}
	known := false
	s.Until(patience, watcher.String()+" to say which regions it knows", func() (err error) {
		known, err = knowsRegion(watcher, spare)
		return err
	})
	if known {
		s.Errorf("%s: expected that %s is not known any more", watcher, spare)
	}
	for _, r := range all {
		r.Kill()
	}
	s.story.Say("end: %s joins anew", spare)
	again := s.Place(spare, spare+"-0")
	s.moveTo(all[0], again)
	s.joins(again, watcher)
	s.later(spare, before)
}

// applied has a replica apply a service with so many endpoints.
func (s *Stage) applied(by *replica, service string, endpoints int) fleet.Result {
	return s.Pipe(manyEndpoints(service, endpoints), "services", "apply", "-f", "-", "--socket", by.Sock)
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
	one := s.spares(1)[0]
	watcher := s.Live(s.opt.Tight)[0]
	key, err := identity.NewSealKey()
	if err != nil {
		s.Fatal(err)
	}
	keyFile := s.Write("backup.key", key.Secret()+"\n")
	durable, late := s.anew("lab/durable"), s.anew("lab/late")
	s.done("a service in "+spare, func() fleet.Result { return s.applied(one, durable, 3) })
	var backup string
	s.done("a backup of "+spare, func() fleet.Result { // which replaces no file
		backup = filepath.Join(s.Dir, s.anew(spare)+".backup")
		return one.CLI("backup", backup, "--recipient", key.Recipient())
	})
	s.done("a later service in "+spare, func() fleet.Result { return s.applied(one, late, 3) })
	before := s.epochBy(watcher, spare)
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
		s.Until(patience, r.String()+" to have what the backup holds and nothing later", func() error { return knows(r, durable, late) })
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
