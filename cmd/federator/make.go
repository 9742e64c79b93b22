package main

import (
	"maps"

	"github.com/spf13/cobra"
)

// makeCommands are those that make and run replicas.
func (a *app) makeCommands() []*cobra.Command {
	here := []*cobra.Command{a.devCmd(), a.initCmd(), a.recoveryKeyCmd(), a.agentCmd(), a.podCmd(), a.manifestsCmd(), a.restoreCmd()}
	for _, c := range here {
		c.Annotations = withLocal(c.Annotations)
	}
	return append(here, a.installCmd(), a.joinCmd(), a.svidCmd(), a.unlinkCmd())
}

// withLocal says of a command that it works on this machine.
func withLocal(annotations map[string]string) map[string]string {
	out := map[string]string{local: "yes"}
	maps.Copy(out, annotations)
	return out
}
