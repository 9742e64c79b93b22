package main

import (
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/peering/pb"
)

// of says of a problem which cluster it is of. A replica does not know how its cluster is
// reached from here, and what it says to type must not be typed for another one.
func (a *app) of(root *cobra.Command, context string, p *pb.Problem) {
	if about := "context " + context; p.GetSubject() != about {
		p.Subject = about + ": " + p.GetSubject()
	}
	flags := " --context " + context
	p.Action = regexp.MustCompile(`\bkubectl (-n|get) `).ReplaceAllString(p.GetAction(), "kubectl"+strings.ReplaceAll(flags, "$", "$$")+" $1 ")
	if a.reach.namespace != "" && a.reach.namespace != laptop.DefaultNamespace {
		flags += " --federator-namespace " + a.reach.namespace
	}
	p.Action = aimed(root, p.GetAction(), flags)
}

// aimed puts flags behind every command of federator in a text that takes --context, and
// says none yet. What stands in the text as a command and is none stays as it is.
func aimed(root *cobra.Command, text, flags string) string {
	var out strings.Builder
	done := 0
	for _, at := range regexp.MustCompile(`\bfederator((?: [a-z][a-z-]*)+)`).FindAllStringSubmatchIndex(text, -1) {
		cmd, end := commandIn(root, text[at[2]:at[3]])
		end += at[2]
		if cmd.HasSubCommands() || cmd.Annotations[local] != "" || strings.HasPrefix(text[end:], " --context ") {
			continue
		}
		out.WriteString(text[done:end] + flags)
		done = end
	}
	return out.String() + text[done:]
}

// commandIn is the command that words begin with, root if they begin with none, and where
// in them its name ends.
func commandIn(root *cobra.Command, words string) (cmd *cobra.Command, end int) {
	cmd = root
	for _, word := range strings.Fields(words) {
		found := false
		for _, c := range cmd.Commands() {
			if c.Name() == word {
				cmd, end, found = c, end+1+len(word), true
				break
			}
		}
		if !found {
			break
		}
	}
	return cmd, end
}
