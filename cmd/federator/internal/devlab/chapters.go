package devlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/federator/federator/peering/pb"
)

// victim is the region that the story breaks, and k its number.
const (
	victim  = "us-west"
	victimK = 1
)

// lookUp expects answers of the own region for what it has, and of another for
// what it has not.
func (s *Story) lookUp(ctx context.Context) error {
	for _, site := range sites() {
		r := s.in(site.region)[0]
		local, err := s.resolve(ctx, r, "checkout")
		if err != nil {
			return err
		}
		s.Say("   %s: shop/checkout is %s", site.region, strings.Join(local, " "))
		for _, a := range local {
			if !strings.HasPrefix(a, fmt.Sprintf("127.10.%d.", site.k)) {
				return fmt.Errorf("expected %s to answer shop/checkout with its own endpoints, found %v", site.region, local)
			}
		}
		remote, err := s.resolve(ctx, r, "catalog")
		if err != nil {
			return err
		}
		s.Say("   %s: shop/catalog is %s", site.region, strings.Join(remote, " "))
	}
	return nil
}

// resolve asks a replica for a service until there is an answer. One that is an
// error is not asked for again.
func (s *Story) resolve(ctx context.Context, r *Replica, service string) (addresses []string, err error) {
	ctx, cancel := within(ctx, patience)
	defer cancel()
	var bad badAnswer
	late := s.await(ctx, r.Name+" to answer "+name(service, s.Lab), func() error {
		if addresses, err = ask(ctx, r.DNS, name(service, s.Lab)); errors.As(err, &bad) {
			return nil
		}
		return err
	})
	return addresses, firstError(late, err)
}

func (s *Story) failEndpoint(ctx context.Context) error {
	// us-west itself answers with its own; the pinned name shows it to the others.
	sick := s.at(victim, "shop/checkout")[0]
	pinned := "checkout.shop.svc." + victim + ".region." + s.Zone + "."
	start := time.Now()
	if err := post(ctx, sick.FailURL); err != nil {
		return err
	}
	took, err := s.everywhere(ctx, start, pinned, func(_ *Replica, a []string) bool { return !slices.Contains(a, sick.ip()) && len(a) > 0 })
	s.record(figure{what: "a failing endpoint leaves every region's answers", took: took, bound: flipWithin, err: err})
	start = time.Now()
	if err := post(ctx, sick.RecoverURL); err != nil {
		return err
	}
	took, err = s.everywhere(ctx, start, pinned, func(r *Replica, a []string) bool {
		elsewhere := r.Region == victim && r.zone != sick.Zone // has nearer ones
		return slices.Contains(a, sick.ip()) || elsewhere && len(a) > 0
	})
	s.record(figure{what: "a recovered endpoint is back in every region's answers", took: took, bound: regionBack, err: err})
	return nil
}

// post sends an empty POST, whose answer may take longer than any figure is given.
func post(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return err
	}
	answer, err := (&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<10))
	return answer.Body.Close()
}

func (s *Story) killRegion(ctx context.Context) error {
	start := s.kill(s.in(victim), true)
	if err := s.gone(ctx, "a killed region leaves the others' answers", start, regionOut, s.outside(victim)); err != nil {
		return err
	}
	s.unharmed(start, "lookups in the other regions meanwhile")
	start = time.Now()
	if err := s.revive(s.in(victim), true); err != nil {
		return err
	}
	if err := s.seen(ctx, "the region is back in the others' answers", start, regionBack, "catalog", s.outside(victim)); err != nil {
		return err
	}
	s.healed(ctx)
	return ctx.Err()
}

func (s *Story) killControlPlane(ctx context.Context) error {
	start := s.kill(s.in(victim), false)
	for _, r := range []*Replica{s.in("eu-central")[0], s.in("asia-east")[0]} {
		took, err := s.staleAt(ctx, r, start)
		s.record(figure{what: "status in " + r.Region + " marks it stale", took: took, bound: staleWithin, err: err})
	}
	// Long enough for every verdict to have fallen, it must still be served.
	if err := sleep(ctx, 5*time.Second); err != nil {
		return err
	}
	recent := time.Now().Add(-quiet)
	s.record(s.stillSeen(recent, "its living endpoints stay in the others' answers"))
	s.unharmed(start, "lookups in the other regions meanwhile")
	start = time.Now()
	if err := s.revive(s.in(victim), false); err != nil {
		return err
	}
	took, err := s.freshAt(ctx, s.in("asia-east")[0], start)
	s.record(figure{what: "its replicas are back, no longer stale", took: took, bound: regionBack, err: err})
	s.healed(ctx)
	return ctx.Err()
}

func (s *Story) killReplicas(ctx context.Context) error {
	replicas := s.in("eu-central")
	i, err := s.leader(ctx, replicas)
	if err != nil {
		return err
	}
	for _, one := range []struct {
		what    string
		replica *Replica
	}{{"leader", replicas[i]}, {"follower", replicas[(i+1)%len(replicas)]}} {
		start := s.kill([]*Replica{one.replica}, false)
		if err := sleep(ctx, 4*time.Second); err != nil {
			return err
		}
		s.unharmed(start, fmt.Sprintf("lookups on the 8 others while the %s %s is dead", one.what, one.replica.Name))
		if err := s.revive([]*Replica{one.replica}, false); err != nil {
			return err
		}
		if !s.healed(ctx) {
			return ctx.Err()
		}
	}
	return nil
}

// leader waits until status names the leader of a region, and returns which of its
// replicas that is: a region that elects another one has none for a moment.
func (s *Story) leader(ctx context.Context, replicas []*Replica) (i int, err error) {
	ctx, cancel := within(ctx, patience)
	defer cancel()
	err = s.await(ctx, "status to name a leader of "+replicas[0].Region, func() error {
		status, err := s.status(ctx, replicas[0])
		if err != nil {
			return err
		}
		leader, _, _ := strings.Cut(status.GetRaft().GetLeader(), ".")
		if i = slices.IndexFunc(replicas, func(r *Replica) bool { return r.Name == leader }); i < 0 {
			return fmt.Errorf("found %q", leader)
		}
		return nil
	})
	return i, err
}

func (s *Story) evacuate(ctx context.Context) error {
	socket := s.in("asia-east")[0].Socket
	out, err := s.Federator(ctx, "evacuate", victim, "--for", "10m", "--reason", "the story", "--socket", socket, "-o", "json")
	if err != nil {
		return err
	}
	evacuation := &pb.EvacuationInfo{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(out, evacuation); err != nil {
		return fmt.Errorf("federator evacuate -o json: %w", err)
	}
	start := evacuation.GetStarted().AsTime() // when the agent was told, not when the command line was begun
	all := func(*Replica) bool { return true }
	if err := s.gone(ctx, "an evacuated region leaves every region's answers", start, evacuateWithin, all); err != nil {
		return err
	}
	s.unharmed(start, "lookups everywhere meanwhile")
	start = time.Now()
	if _, err := s.Federator(ctx, "evacuate", victim, "--stop", "--socket", socket); err != nil {
		return err
	}
	return s.seen(ctx, "it is back after --stop", start, regionBack, "catalog", s.outside(victim))
}

func (s *Story) status(ctx context.Context, r *Replica) (*pb.StatusResponse, error) {
	out, err := s.quietly(ctx, "status", "-o", "json", "--socket", r.Socket)
	if err != nil {
		return nil, err
	}
	status := &pb.StatusResponse{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(out, status); err != nil {
		return nil, fmt.Errorf("federator status -o json: %w", err)
	}
	return status, nil
}

// staleAt waits until a replica's status marks the victim stale.
func (s *Story) staleAt(ctx context.Context, r *Replica, start time.Time) (time.Duration, error) {
	return s.regionAt(ctx, r, start, "stale", func(reach, freshness string) bool {
		return reach != "reachable" && (freshness == "stale" || freshness == "lost")
	})
}

// freshAt waits until a replica's status marks the victim fresh again.
func (s *Story) freshAt(ctx context.Context, r *Replica, start time.Time) (time.Duration, error) {
	return s.regionAt(ctx, r, start, "fresh", func(reach, freshness string) bool {
		return reach == "reachable" && freshness == "fresh"
	})
}

func (s *Story) regionAt(ctx context.Context, r *Replica, start time.Time, state string, is func(reach, freshness string) bool) (time.Duration, error) {
	ctx, cancel := within(ctx, 30*time.Second)
	defer cancel()
	err := s.await(ctx, fmt.Sprintf("%s to see %s %s", r.Name, victim, state), func() error {
		status, err := s.status(ctx, r)
		if err != nil {
			return err
		}
		for _, region := range status.GetRegions() {
			if region.GetName() != victim {
				continue
			}
			if is(region.GetReach(), region.GetFreshness()) {
				return nil
			}
			return fmt.Errorf("found reach %q and freshness %q", region.GetReach(), region.GetFreshness())
		}
		return errors.New("status does not list the region")
	})
	return time.Since(start), err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
