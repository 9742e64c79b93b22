package operator

import (
	"fmt"
	"strings"
	"time"

	"github.com/federator/federator/peering/pb"
)

// Imports is how the imports of a Kubernetes cluster are, as this replica knows it.
type Imports struct {
	// Writer: this replica writes them. Holder is the replica that does, as last seen;
	// "" if none does.
	Writer bool
	Holder string
	// Unanswered is since when the API server has not answered, zero if it does.
	// Refused is why it does not let this replica become the writer.
	Unanswered time.Time
	Refused    string
	// What the writer counts: services that are imported, those that it leaves alone
	// until it knows more, objects that are in the way, and objects of ours that
	// something else keeps changing back. BehindSince is since when the first of those
	// services is left alone, zero if none is.
	Imports, Behind    int
	BehindSince        time.Time
	Foreign, Contested []string
}

const (
	// unansweredAfter is how long an API server may not answer, and unwrittenAfter how
	// long there may be no writer, before check says so: a restart is no news.
	unansweredAfter = 10 * time.Second
	unwrittenAfter  = 30 * time.Second
	// behindAfter is how long the writer may know less than the objects that it finds.
	behindAfter = time.Minute
)

func (i *Imports) wire() *pb.ImportsStatus {
	if i == nil {
		return nil
	}
	return &pb.ImportsStatus{
		Writer: i.Writer, Holder: i.Holder, UnansweredSince: moment(i.Unanswered), Refused: i.Refused,
		Imports: uint32(i.Imports), Behind: uint32(i.Behind), Foreign: most(i.Foreign, maxAlike), Contested: most(i.Contested, maxAlike),
	}
}

// checkImports reports what keeps the imports of the own Kubernetes cluster from
// being written.
func (v *view) checkImports() []problem {
	i := v.imports
	if i == nil {
		return nil
	}
	var out []problem
	subject := "imports of cluster " + v.self.Cluster
	switch {
	case !i.Unanswered.IsZero():
		if v.now.Sub(i.Unanswered) > unansweredAfter {
			out = append(out, problem{warning, "imports-unanswered", subject, "an API server that answers", "it has not answered this replica; imports stay as they were written, and kube-proxy goes on with them",
				"mend the way to the Kubernetes API server; everything is compared once it is back", i.Unanswered})
		}
	case i.Refused != "":
		out = append(out, problem{severity: severe, code: "imports-refused", subject: subject, expected: "that replicas may read and take the Lease of the writer", found: i.Refused,
			action: "apply the manifests of this release (federator manifests), with their roles and bindings"})
	case i.Holder == "" && !i.Writer && v.now.Sub(v.started) > unwrittenAfter:
		out = append(out, problem{severity: warning, code: "imports-unwritten", subject: subject, expected: "a replica that writes them", found: "none holds the Lease federator-imports",
			action: "one takes it within 15 seconds; if it stays so, all of them have halted or were removed, which check says of them, or see the log of the cluster's replicas"})
	}
	if !i.BehindSince.IsZero() && v.now.Sub(i.BehindSince) > behindAfter {
		out = append(out, problem{warning, "imports-behind", subject, "a writer that knows at least what its objects were planned from", fmt.Sprintf("%d services are left alone, because another replica that wrote them knew more", i.Behind),
			"see what else check says of this replica, such as stream-stale or no-leader; if nothing, restart it, and another becomes the writer", i.BehindSince})
	}
	for _, object := range i.Foreign {
		out = append(out, problem{severity: warning, code: "imports-foreign", subject: object, expected: "an object of ours, or none", found: "one that somebody else made has its name, and is left alone",
			action: "delete or rename it, and the import is completed by itself"})
	}
	for _, object := range i.Contested {
		p := problem{severity: warning, code: "imports-contested", subject: object, expected: "that it stays as this replica writes it", found: "something keeps changing it back, so it is written less often",
			action: "see who with kubectl get --show-managed-fields, and which admission webhooks change it; have them leave objects with the label federator.dev/import alone"}
		if strings.HasPrefix(object, "ServiceExport ") {
			p.expected, p.found = "that its conditions stay as this replica writes them", "something keeps writing others, so they are written less often"
			p.action = "see who with kubectl get --show-managed-fields; have one controller of the Multi-Cluster Services API report on it"
		}
		out = append(out, p)
	}
	return out
}
