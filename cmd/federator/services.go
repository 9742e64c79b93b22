package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
)

func (a *app) servicesCmd() *cobra.Command {
	var request pb.ServicesRequest
	cmd := a.ask("services", "List the services of all regions; or apply and delete some", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			r, err := agent.Services(ctx, &request)
			return r, func(p *printer) { showServices(p, r.GetServices()) }, err
		})
	cmd.Flags().StringVarP(&request.Namespace, "namespace", "n", "", "only this namespace")
	cmd.Flags().StringVar(&request.Region, "region", "", "only services with endpoints in this region")
	cmd.AddCommand(a.servicesApplyCmd(), a.servicesDeleteCmd())
	return cmd
}

func showServices(p *printer, services []*pb.ServiceSummary) {
	p.row("SERVICE", "KIND", "PORTS", "HEALTHY", "WHERE", "POLICY", "NOTE")
	for _, s := range services {
		kind := "clusterset"
		if s.GetHeadless() {
			kind = "headless"
		}
		where := make([]string, len(s.GetBackends()))
		for i, b := range s.GetBackends() {
			where[i] = fmt.Sprintf("%s/%s:%d/%d", b.GetRegion(), b.GetCluster(), b.GetHealthy(), b.GetEndpoints())
			if b.GetStale() {
				where[i] += "(stale)"
			}
		}
		healthy := fmt.Sprintf("%d/%d", s.GetHealthy(), s.GetEndpoints())
		p.row(s.GetName(), kind, portList(s.GetPorts()), healthy, strings.Join(where, " "), s.GetPolicy(), strings.Join(s.GetConflicts(), "; "))
	}
}

func (a *app) servicesApplyCmd() *cobra.Command {
	var path string
	request := &pb.ApplyServicesRequest{}
	cmd := a.ask("apply -f FILE --cluster CLUSTER", "Bring services into a cluster of the region, in the format of the services file", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			document, err := a.readFile(path)
			if err != nil {
				return nil, nil, err
			}
			request.Document = document
			r, err := agent.ApplyServices(ctx, request)
			return r, func(p *printer) {
				for _, c := range r.GetChanges() {
					p.row(c.GetService(), c.GetAction())
				}
				showWarnings(p, r.GetWarnings())
			}, a.reach.ofFile(err)
		})
	flags := cmd.Flags()
	flags.StringVarP(&path, "file", "f", "", "the file, - for standard input")
	flags.StringVar(&request.Cluster, "cluster", "", "the cluster that the services are of (default: the replica's own)")
	flags.BoolVar(&request.Prune, "prune", false, "delete what was applied before and the file does not have")
	flags.BoolVar(&request.DryRun, "dry-run", false, "only say what would change")
	required(cmd, "file")
	return cmd
}

func (a *app) servicesDeleteCmd() *cobra.Command {
	var cluster string
	cmd := a.ask("delete NAMESPACE/NAME", "Delete a service that was applied", cobra.ExactArgs(1),
		func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error) {
			r, err := agent.DeleteService(ctx, &pb.DeleteServiceRequest{Cluster: cluster, Service: args[0]})
			return r, said("%s is deleted", args[0]), err
		})
	cmd.Flags().StringVar(&cluster, "cluster", "", "the cluster that the service is of (default: the replica's own)")
	return cmd
}

func showWarnings(p *printer, warnings []string) {
	for _, w := range warnings {
		p.line("warning: %s", w)
	}
}
