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
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/federator/federator/federation/catalog"
)

// The bounds of a schedules file.
const (
	MaxBytes     = 1 << 20
	MaxDocuments = 1000
	MaxErrors    = 100 // reported; what is beyond is counted
)

// Named is one document of a schedules file.
type Named struct {
	Name     string
	Schedule catalog.Schedule
	// Line is where the document begins, from 1.
	Line int
}

// kind is what each document has to be.
const kind = "DrillSchedule"

// Parse reads a schedules file. The schedules are valid (see
// [catalog.ValidateSchedule]), but that a region that coordinates may be missing;
// there is at least one, in the order of the file, each name once. The error joins
// every mistake that was found, one per line.
func Parse(data []byte) ([]Named, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("schedules: expected at most %d bytes, found %d: split the file", MaxBytes, len(data))
	}
	r := &reader{}
	var out []Named
	seen := map[string]int{}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for documents := 0; ; documents++ {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.errs = append(r.errs, fmt.Errorf("schedules: expected YAML: %w", err))
			break
		}
		if documents == MaxDocuments {
			r.fail(&doc, "document", "expected at most %d documents: split the file", MaxDocuments)
			break
		}
		if len(doc.Content) != 1 || doc.Content[0].ShortTag() == "!!null" {
			continue
		}
		if s, ok := r.document(doc.Content[0]); ok {
			if first, twice := seen[s.Name]; twice {
				r.fail(doc.Content[0], "name", "expected each schedule once, found %q again (first at line %d)", clip(s.Name), first)
			}
			seen[s.Name] = s.Line
			out = append(out, s)
		}
	}
	if len(r.errs) == 0 && len(out) == 0 {
		return nil, errors.New("schedules: expected at least one document with kind, name and spec, found none")
	}
	if more := len(r.errs) - MaxErrors; more > 0 {
		r.errs = append(r.errs[:MaxErrors], fmt.Errorf("and %d more mistakes", more))
	}
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return out, nil
}

// document reads one document; false if there were mistakes.
func (r *reader) document(root *yaml.Node) (Named, bool) {
	var d struct {
		Kind string           `json:"kind"`
		Name string           `json:"name"`
		Spec catalog.Schedule `json:"spec"`
	}
	before := len(r.errs)
	r.read(root, &d)
	if len(r.errs) > before {
		return Named{}, false
	}
	if d.Kind != kind {
		r.fail(root, "kind", "expected %q, found %q", kind, clip(d.Kind))
		return Named{}, false
	}
	check := d.Spec
	if check.Region == "" {
		check.Region = "here" // the agent fills in its own
	}
	if err := catalog.ValidateSchedule(d.Name, check); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			r.fail(root, "schedule "+clip(d.Name), "%s", line)
		}
		return Named{}, false
	}
	return Named{d.Name, d.Spec, root.Line}, true
}
