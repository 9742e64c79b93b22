package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
)

func (a *app) resolveCmd() *cobra.Command {
	var request pb.ResolveRequest
	cmd := a.ask("resolve NAMESPACE/NAME", "Explain what a client is answered, and why", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			request.Service = args[0]
			r, err := agent.Resolve(ctx, &request)
			return r, func(p *printer) { showResolution(p, r) }, err
		})
	cmd.Flags().StringVar(&request.From, "from", "", "where the client is: REGION or REGION/ZONE (default: where the replica is)")
	cmd.Flags().StringVar(&request.ClientAddress, "client-address", "", "the client's IP address, placed by the clusters' prefixes, instead of --from")
	exclusive(cmd, "from", "client-address")
	return cmd
}

func showResolution(p *printer, r *pb.ResolveResponse) {
	p.line("service\t%s", r.GetService())
	p.line("from\t%s", strings.TrimSpace(r.GetFrom()+" "+r.GetFromReason()))
	p.line("policy\t%s", or(r.GetPolicy(), "built-in"))
	if r.GetDrill() != "" {
		p.line("drill\t%s", r.GetDrill())
	}
	if r.GetPanic() {
		p.line("panic\tyes: too little is available, so health is ignored")
	}
	if r.GetStale() {
		p.line("stale\tyes: some of this cannot be confirmed now")
	}
	p.gap()
	showPlaces(p, r.GetPriorities())
	p.gap()
	showAddresses(p, r.GetPriorities())
	if len(r.GetOmissions()) > 0 {
		p.gap()
		p.row("LEFT OUT", "WHY")
		for _, o := range r.GetOmissions() {
			p.row(o.GetSubject(), o.GetReason())
		}
	}
	p.gap()
	for _, sentence := range r.GetExplanation() {
		p.line("%s", sentence)
	}
	p.line("DNS answers: %s", or(strings.Join(r.GetDnsAnswers(), " "), "nothing"))
}

// showPlaces lists where the traffic goes, in order of priority.
func showPlaces(p *printer, priorities []*pb.ResolvedPriority) {
	p.row("PRIORITY", "LOAD", "HEALTH", "LOCALITY", "SHARE", "RTT", "WHY")
	for _, priority := range priorities {
		load, health := percent(priority.GetLoadPercent()*100), percent(priority.GetHealthPercent()*100)
		for _, l := range priority.GetLocalities() {
			why := strings.Trim(priority.GetReason()+"; "+l.GetReason(), "; ")
			p.row(priority.GetPriority(), load, health, place(l), percent(l.GetShareBp()), span(l.GetRtt()), why)
		}
	}
}

func showAddresses(p *printer, priorities []*pb.ResolvedPriority) {
	p.row("ADDRESS", "LOCALITY", "CLUSTER", "WEIGHT", "HEALTH", "SERVES", "WHY")
	for _, priority := range priorities {
		for _, l := range priority.GetLocalities() {
			for _, e := range l.GetEndpoints() {
				p.row(e.GetAddress(), place(l), e.GetCluster(), e.GetWeight(), e.GetHealth(), or(yes(e.GetServes()), "no"), e.GetReason())
			}
		}
	}
}

func place(l *pb.ResolvedLocality) string {
	return strings.TrimSuffix(l.GetRegion()+"/"+l.GetZone(), "/")
}

// percent writes hundredths of a percent.
func percent(bp uint32) string {
	if bp%100 == 0 {
		return fmt.Sprintf("%d%%", bp/100)
	}
	return fmt.Sprintf("%d.%02d%%", bp/100, bp%100)
}
