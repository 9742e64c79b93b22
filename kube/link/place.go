package link

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/federator/federator/kube/laptop"
)

// place is how a cluster is reached, and where federator is in it. What is printed to be
// typed names both: without them it would be done to whatever cluster is the current one.
type place struct{ context, namespace string }

func placeOf(c *laptop.Cluster) place { return place{c.Context, c.Namespace} }

// kubectl is the command for the cluster.
func (p place) kubectl(args string) string { return "kubectl --context " + p.context + " " + args }

// inside is the command for federator's namespace.
func (p place) inside(args string) string { return p.kubectl("-n " + p.namespace + " " + args) }

// federator is a command about the cluster, with what follows it.
func (p place) federator(command, more string) string {
	s := "federator " + command + " --context " + p.context
	if p.namespace != "" && p.namespace != laptop.DefaultNamespace {
		s += " --federator-namespace " + p.namespace
	}
	return strings.TrimRight(s+" "+more, " ")
}

// Command is a command of federator about a cluster, with what follows it, to be typed.
func Command(c *laptop.Cluster, command, more string) string {
	return placeOf(c).federator(command, more)
}

// refusal says of what the user of the context may not do what was expected, what was
// found and what to do. Any other error stays as it is: quotas, admission and a namespace
// that ends forbid, too, and in other words.
func (p place) refusal(err error, wanted Right) error {
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), " cannot ") {
		return err
	}
	return fmt.Errorf("expected to be allowed to %s, found that the user of the context is not (%w); use a context of an administrator, or have it granted; see %s",
		wanted, err, p.kubectl("auth can-i "+wanted.String()))
}
