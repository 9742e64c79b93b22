package main

import "github.com/spf13/cobra"

// makeCommands are those that make and run replicas.
func (a *app) makeCommands() []*cobra.Command {
	return []*cobra.Command{a.devCmd(), a.initCmd(), a.recoveryKeyCmd(), a.joinCmd(), a.agentCmd(), a.podCmd(), a.manifestsCmd(), a.svidCmd(), a.restoreCmd()}
}
