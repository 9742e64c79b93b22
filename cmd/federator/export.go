package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/federator/federator/kube/link"
)

func (a *app) exportCmd() *cobra.Command {
	var namespace string
	var remove bool
	var within time.Duration
	cmd := &cobra.Command{
		Use: "export SERVICE -n NAMESPACE --context CLUSTER", Short: "Export a Service of a Kubernetes cluster to the federation", Args: usage(cobra.ExactArgs(1)),
		Long: `Make the ServiceExport of a Service, and wait until it counts, or it is known why
not: there is no such Service, a rule refuses it, others export it differently. With
--remove take it out of the federation again. kubectl can do both as well.`,
		Example: `  federator export checkout -n shop --context us-west`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), within)
			defer cancel()
			if remove {
				return a.unexport(ctx, namespace, args[0])
			}
			return a.export(ctx, namespace, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVarP(&namespace, "namespace", "n", "", "the Service's namespace")
	f.BoolVar(&remove, "remove", false, "take it out of the federation again")
	f.DurationVar(&within, "within", time.Minute, "how long to wait")
	required(cmd, "namespace")
	before(cmd, func() error {
		if len(a.reach.contexts) == 0 {
			return errors.New("--context is missing: the cluster that the Service is in; see federator export --help")
		}
		return nil
	})
	return cmd
}

func (a *app) export(ctx context.Context, namespace, name string) error {
	cluster, err := a.reach.cluster()
	if err != nil {
		return err
	}
	r, err := link.Export(ctx, cluster, link.ZoneOf(ctx, cluster), namespace, name, a.progress)
	if err != nil {
		return err
	}
	if a.output == "json" {
		return a.printJSON(r)
	}
	fmt.Fprintf(a.out, "%s is exported from %s: %s in every cluster\n", r.Service, r.Context, r.Name)
	for _, n := range r.Notes {
		fmt.Fprintln(a.out, "note: "+n)
	}
	return nil
}

func (a *app) unexport(ctx context.Context, namespace, name string) error {
	cluster, err := a.reach.cluster()
	if err != nil {
		return err
	}
	was, err := link.Unexport(ctx, cluster, namespace, name, a.progress)
	if err != nil {
		return err
	}
	service := strings.Join([]string{namespace, name}, "/")
	if a.output == "json" {
		return a.printJSON(map[string]any{"service": service, "context": cluster.Context, "removed": was})
	}
	if !was {
		_, err = fmt.Fprintf(a.out, "%s was not exported from %s\n", service, cluster.Context)
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s is no longer exported from %s\n", service, cluster.Context)
	return err
}
