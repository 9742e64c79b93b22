package upgrade

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
)

func contains(text string, words ...string) error {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("expected it to say %q, found %q", w, text)
		}
	}
	return nil
}

// says checks that a command failed with these words.
func says(r fleet.Result, words ...string) error {
	if r.Code == 0 {
		return fmt.Errorf("federator %v succeeded", r.Args)
	}
	return contains(r.Err, words...)
}

// holds checks that the backup of a region has an object of each kind: so they
// are in the region's own Raft, and not merely in what it holds of others.
func holds(r *fleet.Replica, file string, kinds []string) error {
	if err := os.RemoveAll(file); err != nil {
		return err
	}
	if err := succeeds(r.CLI("backup", file)); err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		if !strings.Contains(string(b), fmt.Sprintf(`"kind":%q,"name":"x"`, kind)) {
			return fmt.Errorf("the backup of %s holds no object of kind %s", r.Region, kind)
		}
	}
	return nil
}

func hasPolicies(r *fleet.Replica, names ...string) error {
	return call(r, func(ctx context.Context, c pb.OperatorClient) error {
		found, err := c.ListPolicies(ctx, &pb.ListPoliciesRequest{})
		if err != nil {
			return err
		}
		have := map[string]bool{}
		for _, p := range found.GetPolicies() {
			have[p.GetName()] = true
		}
		return missing("policies", have, names)
	})
}

func hasServices(r *fleet.Replica, names ...string) error {
	return call(r, func(ctx context.Context, c pb.OperatorClient) error {
		found, err := c.Services(ctx, &pb.ServicesRequest{})
		if err != nil {
			return err
		}
		have := map[string]bool{}
		for _, s := range found.GetServices() {
			have[s.GetName()] = true
		}
		return missing("services", have, names)
	})
}

func missing(what string, have map[string]bool, names []string) error {
	var lost []string
	for _, n := range names {
		if !have[n] {
			lost = append(lost, n)
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("%d of %d %s that were acknowledged are not there: %v", len(lost), len(names), what, lost[:min(len(lost), 10)])
	}
	return nil
}

// follows checks that the stream of a region is whole at a replica of another.
func follows(r *fleet.Replica, region string) error {
	s, err := r.RegionStatus(region)
	if err != nil {
		return err
	}
	if s.GetFreshness() != "fresh" || s.GetStreamError() != "" || s.GetReach() != "reachable" {
		return fmt.Errorf("%s sees %s as %s and %s: %s", r, region, s.GetReach(), s.GetFreshness(), s.GetStreamError())
	}
	return nil
}

// content checks that a replica finds nothing wrong that is an error.
func content(r *fleet.Replica) error {
	problems, err := r.Problems()
	if err != nil {
		return err
	}
	for _, p := range problems {
		if p.GetSeverity() == "error" {
			return fmt.Errorf("%s: check says %v", r, p)
		}
	}
	return nil
}
