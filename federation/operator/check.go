package operator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/peering/pb"
)

// Check looks for every problem there is, as seen from here.
func (s *Server) Check(context.Context, *pb.CheckRequest) (*pb.CheckResponse, error) {
	return s.look().check(), nil
}

// The severities, worst first.
const (
	severe   = "error"
	warning  = "warning"
	info     = "info"
	maxAlike = 20 // problems of one code that are listed one by one
)

// problem is something to act on; see [pb.Problem].
type problem struct {
	severity, code, subject string
	expected, found, action string
	since                   time.Time
}

// examination looks at one thing.
type examination struct {
	name string
	look func(*view) []problem
}

// examinations lists all that check looks at.
func examinations() []examination {
	return []examination{
		{"readiness of this replica", (*view).checkReady},
		{"the region's Raft", (*view).checkRaft},
		{"replicas and voters of the region", (*view).checkVoters},
		{"disks and caches", (*view).checkDisks},
		{"epoch and membership of the region", (*view).checkEpoch},
		{"reachability of the regions", (*view).checkReach},
		{"streams of the regions", (*view).checkStreams},
		{"replicas of the other regions", (*view).checkPeers},
		{"clocks", (*view).checkClocks},
		{"builds and protocols", (*view).checkBuilds},
		{"certificates", (*view).checkCertificates},
		{"certificates of pods", (*view).checkPods},
		{"the trust list", (*view).checkTrust},
		{"sealed secrets", (*view).checkSecrets},
		{"sources of services", (*view).checkSources},
		{"services and their endpoints", (*view).checkServices},
		{"imports of the Kubernetes cluster", (*view).checkImports},
		{"rights in the Kubernetes cluster", (*view).checkRights},
		{"export rules", (*view).checkExportRules},
		{"policies", (*view).checkPolicies},
		{"evacuations", (*view).checkEvacuations},
		{"drills", (*view).checkDrills},
		{"gates of drills", (*view).checkGates},
		{"scheduled drills", (*view).checkSchedules},
		{"writes that were lost or refused", (*view).checkWrites},
		{"DNS", (*view).checkDNS},
	}
}

// check looks at everything and sorts what it found, worst first.
func (v *view) check() *pb.CheckResponse {
	out := &pb.CheckResponse{}
	var found []problem
	for _, e := range examinations() {
		out.Checked = append(out.Checked, e.name)
		found = append(found, e.look(v)...)
	}
	slices.SortStableFunc(found, func(a, b problem) int {
		return cmp.Or(cmp.Compare(badness(a), badness(b)), strings.Compare(a.code, b.code), strings.Compare(a.subject, b.subject))
	})
	for _, p := range abridged(found) {
		out.Problems = append(out.Problems, &pb.Problem{
			Severity: p.severity, Code: p.code, Subject: p.subject,
			Expected: p.expected, Found: p.found, Action: p.action, Since: moment(p.since),
		})
	}
	return out
}

func badness(p problem) int { return slices.Index([]string{severe, warning, info}, p.severity) }

// abridged keeps a flood of one kind from hiding the rest.
func abridged(found []problem) []problem {
	var out []problem
	for i := 0; i < len(found); {
		end := i
		for end < len(found) && found[end].code == found[i].code && found[end].severity == found[i].severity {
			end++
		}
		alike := found[i:end]
		out = append(out, alike[:min(len(alike), maxAlike)]...)
		if rest := len(alike) - maxAlike; rest > 0 {
			more := alike[maxAlike]
			more.subject, more.found, more.since = fmt.Sprintf("%d more", rest), "the same in "+more.subject+" and others", time.Time{}
			out = append(out, more)
		}
		i = end
	}
	return out
}
