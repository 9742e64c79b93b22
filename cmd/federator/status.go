package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
)

func (a *app) statusCmd() *cobra.Command {
	return a.ask("status", "The federation as one replica sees it", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			s, err := agent.Status(ctx, &pb.StatusRequest{})
			return s, func(p *printer) { showStatus(p, s) }, err
		})
}

func showStatus(p *printer, s *pb.StatusResponse) {
	self := s.GetSelf()
	p.line("replica\t%s of %s, cluster %s, up %s", self.GetName(), self.GetRegion(), self.GetCluster(), span(s.GetUptime()))
	p.line("trust domain\t%s, zone %s", s.GetTrustDomain(), s.GetZone())
	p.line("version\t%s (protocol %d)", s.GetBuild().GetVersion(), s.GetBuild().GetProtocol())
	if s.GetReady() {
		p.line("ready\tyes")
	} else {
		p.line("ready\tNO, waiting for %s", strings.Join(s.GetWaitingFor(), ", "))
	}
	if s.GetIsolated() {
		p.line("isolated\tYES: every other region is silent, so the fault is probably here")
	}
	raft := s.GetRaft()
	p.line("raft\t%s, leader %s, term %d, applied %d of %d", raft.GetState(), or(raft.GetLeader(), "none"), raft.GetTerm(), raft.GetAppliedIndex(), raft.GetCommitIndex())
	if raft.GetHalted() != "" {
		p.line("halted\t%s", raft.GetHalted())
	}
	p.line("certificate\t%s until %s", s.GetCertificate().GetId(), moment(s.GetCertificate().GetNotAfter()))
	if failed := s.GetCertificate().GetLastError(); failed != "" {
		p.line("renewal\tFAILS: %s", failed)
	}
	p.line("serves\t%d services, %d endpoints", s.GetServices(), s.GetEndpoints())
	if i := s.GetImports(); i != nil {
		p.line("imports\t%s", importsNote(i))
	}
	p.gap()
	showRegions(p, s.GetRegions())
	p.gap()
	showClusters(p, s.GetClusters())
	if len(s.GetEvacuations()) > 0 {
		p.gap()
		showEvacuations(p, s.GetEvacuations())
	}
	if len(s.GetDrills()) > 0 {
		p.gap()
		showDrills(p, s.GetDrills())
	}
}

// importsNote says how the imports of the Kubernetes cluster are.
func importsNote(i *pb.ImportsStatus) string {
	writer := "written by " + or(i.GetHolder(), "nobody")
	if i.GetWriter() {
		writer = fmt.Sprintf("%d, written by this replica", i.GetImports())
	}
	if i.GetUnansweredSince() != nil {
		writer += ", STALE: the API server has not answered since " + moment(i.GetUnansweredSince())
	}
	if n := len(i.GetForeign()); n > 0 {
		writer += fmt.Sprintf(", %d object(s) in the way", n)
	}
	if n := len(i.GetContested()); n > 0 {
		writer += fmt.Sprintf(", %d object(s) that something keeps changing back", n)
	}
	return writer
}

func showRegions(p *printer, regions []*pb.RegionStatus) {
	p.row("REGION", "REACH", "DATA", "AGE", "LAG", "VERSION", "REPLICAS", "LEADER", "RTT", "NOTE")
	for _, r := range regions {
		replicas := count(r.GetReplicasAlive()) + "/" + count(r.GetReplicas())
		version := count(r.GetEpoch()) + "." + count(r.GetSeq())
		p.row(r.GetName(), r.GetReach(), r.GetFreshness(), span(r.GetDataAge()), r.GetLag(), version, replicas, r.GetLeader(), span(r.GetRtt()), regionNote(r))
	}
}

func regionNote(r *pb.RegionStatus) string {
	var notes []string
	add := func(set bool, note string) {
		if set {
			notes = append(notes, note)
		}
	}
	add(r.GetOwn(), "own")
	add(r.GetAuthority(), "authority")
	add(r.GetRemoved(), "removed")
	add(r.GetEvacuated(), "evacuated")
	add(r.GetRelayedBy() != "", "via "+r.GetRelayedBy())
	add(r.GetNote() != "", r.GetNote())
	add(r.GetStreamError() != "", "stream: "+r.GetStreamError())
	return strings.Join(notes, ", ")
}

// firstOf is the first line of a text, with the next if it announces that, and how
// many there are besides: a cell of a table has no room for all, and check has.
func firstOf(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	n := 1
	if strings.HasSuffix(lines[0], ":") {
		n = min(2, len(lines))
	}
	first := strings.Join(strings.Fields(strings.Join(lines[:n], " ")), " ")
	if rest := len(lines) - n; rest > 0 {
		return fmt.Sprintf("%s (and %d more, see federator check)", first, rest)
	}
	return first
}

func showClusters(p *printer, clusters []*pb.ClusterStatus) {
	p.row("CLUSTER", "REGION", "HEALTH OWNER", "SERVICES", "ENDPOINTS", "UNHEALTHY", "REFUSED", "SOURCE")
	for _, c := range clusters {
		source := "ok"
		if c.GetSourceError() != "" {
			source = "STALE since " + moment(c.GetStaleSince()) + ": " + firstOf(c.GetSourceError())
		}
		p.row(c.GetName(), c.GetRegion(), c.GetHealthOwner(), c.GetServices(), c.GetEndpoints(), c.GetUnhealthy(), c.GetRefused(), source)
	}
}
