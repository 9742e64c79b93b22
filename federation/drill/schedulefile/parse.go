// Package schedulefile reads schedules of drills from YAML, strictly: every
// mistake is reported with its line, all at once, and nothing is taken from a file
// that has any. A file holds one or more documents:
//
//	kind: DrillSchedule
//	name: tuesdays
//	spec:
//	  region: eu-central        # coordinates the drills
//	  days: [tue]               # none: every day
//	  at: ["10:00"]             # UTC
//	  blocked:
//	    - {from: 2026-12-20T00:00:00Z, to: 2027-01-04T00:00:00Z}
//	    - {from: "22:00", to: "06:00"}
//	  kind: evacuate            # or isolate
//	  scope: {region: us-west}  # and zone or cluster, and service: shop/checkout
//	  shape: {ramp: 2m, hold: 10m, return: 2m}
//	  objective: 5s
//	  alarms:
//	    - {name: front-door, url: "https://shop.example/healthz"}
//
// The fields of spec are those of [catalog.Schedule]. The package does no I/O.
package schedulefile

import (
	"errors"
	"strings"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/strictyaml"
)

// Named is one document of a schedules file.
type Named = strictyaml.Named[catalog.Schedule]

// Parse reads a schedules file. The schedules are valid (see
// [catalog.ValidateSchedule]), but that a region that coordinates may be missing;
// there is at least one, in the order of the file, each name once. The error joins
// every mistake that was found, one per line.
func Parse(data []byte) ([]Named, error) {
	return strictyaml.Documents(data, strictyaml.Form[catalog.Schedule]{
		Kind: "DrillSchedule", One: "schedule", Many: "schedules", Validate: validate,
	})
}

func validate(name string, s catalog.Schedule) []error {
	if s.Region == "" {
		s.Region = "here" // the agent fills in its own
	}
	err := catalog.ValidateSchedule(name, s)
	if err == nil {
		return nil
	}
	var errs []error
	for line := range strings.SplitSeq(err.Error(), "\n") {
		errs = append(errs, errors.New(line))
	}
	return errs
}
