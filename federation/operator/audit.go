package operator

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/peering/pb"
)

// The bounds of an answer of the audit trail, in entries.
const (
	defaultAudit = 100
	maxAudit     = 10_000
)

// ListAudit lists this region's changes, newest first.
func (s *Server) ListAudit(_ context.Context, r *pb.ListAuditRequest) (*pb.ListAuditResponse, error) {
	limit := int(r.GetLimit())
	switch {
	case limit == 0:
		limit = defaultAudit
	case limit > maxAudit:
		return nil, invalid("the limit is %d entries, found %d; narrow the question by time or actor", maxAudit, limit)
	}
	var entries []state.AuditEntry
	s.Raft.Read(func(st *state.State) { entries = st.Audit(0) })
	out := &pb.ListAuditResponse{}
	for _, e := range slices.Backward(entries) {
		if len(out.GetEntries()) >= limit {
			break
		}
		if r.GetSince() != nil && e.Time.Before(r.GetSince().AsTime()) || !byActor(e.Actor, r.GetActor()) {
			continue
		}
		out.Entries = append(out.Entries, auditEntry(e, s.Self.Region))
	}
	return out, nil
}

// byActor reports whether the actor is the one that is asked for; "uid:0" means
// that user on whichever replica.
func byActor(actor, asked string) bool {
	return asked == "" || actor == asked || strings.HasPrefix(asked, "uid:") && strings.HasPrefix(actor, asked+"@")
}

func auditEntry(e state.AuditEntry, region string) *pb.AuditEntry {
	out := &pb.AuditEntry{
		Time: timestamppb.New(e.Time), Index: e.Seq, Actor: e.Actor,
		Action: e.Action, Subject: e.Target, Detail: e.Detail, Region: region,
	}
	out.Origin, out.Replica, _ = strings.Cut(e.From, via)
	if e.Action == string(state.TypeAudit) { // something that happened outside of the state
		if action, detail, ok := strings.Cut(e.Detail, ": "); ok {
			out.Action, out.Detail = action, detail
		}
	}
	return out
}
