package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
)

func (a *app) keyringCmd() *cobra.Command {
	cmd := parent("keyring", "The keys that encrypt gossip: status and rotate")
	rotate := &pb.RotateKeyringRequest{}
	rotateCmd := a.ask("rotate", "Make a new key, in the authority region, and retire the old one when every replica has it", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			r, err := agent.RotateKeyring(ctx, rotate)
			return r, func(p *printer) {
				showKeyring(p, r)
				p.line("the rotation goes on by itself; follow it with: federator keyring status")
			}, err
		})
	rotateCmd.Flags().StringSliceVar(&rotate.Without, "without", nil, "retire the old key without waiting for these regions")
	cmd.AddCommand(rotateCmd, a.ask("status", "Show the keys' fingerprints, and who waits for what", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			r, err := agent.KeyringStatus(ctx, &pb.KeyringStatusRequest{})
			return r, func(p *printer) { showKeyring(p, r) }, err
		}))
	return cmd
}

func showKeyring(p *printer, r *pb.KeyringStatusResponse) {
	p.row("KEY", "PRIMARY")
	for _, k := range r.GetKeys() {
		p.row(k.GetFingerprint(), yes(k.GetPrimary()))
	}
	p.gap()
	p.line("version %d; waiting for: %s", r.GetVersion(), or(strings.Join(r.GetWaitingFor(), ", "), "nobody"))
}
