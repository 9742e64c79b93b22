package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/federation"
	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/identity"
	"github.com/federator/federator/kube/attest"
	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/peering/svid"
)

func (a *app) svidCmd() *cobra.Command {
	cmd := parent("svid", "Identities of pods: fetch one, or tell pods whom to trust")
	fetch := a.svidFetchCmd()
	fetch.Annotations = withLocal(fetch.Annotations)
	cmd.AddCommand(fetch, a.svidTrustCmd())
	return cmd
}

// podTrust is what a pod has to know to prove the replicas of its cluster.
type podTrust struct {
	trustDomain, region, cluster string
	pins, agents                 []string
	token                        string
}

func (p *podTrust) flags(f *pflag.FlagSet, env func(string) string) {
	f.StringVar(&p.trustDomain, "trust-domain", env("FEDERATOR_TRUST_DOMAIN"), "the trust domain (env FEDERATOR_TRUST_DOMAIN)")
	f.StringVar(&p.region, "region", env("FEDERATOR_REGION"), "the region of the pod's cluster (env FEDERATOR_REGION)")
	f.StringVar(&p.cluster, "cluster", env("FEDERATOR_CLUSTER"), "the pod's cluster (env FEDERATOR_CLUSTER)")
	f.StringSliceVar(&p.pins, "pin", listOf(env("FEDERATOR_PINS")), "SHA-256 of the key of a root, in hex, repeatable (env FEDERATOR_PINS, with commas)")
	f.StringSliceVar(&p.agents, "agent", listOf(or(env("FEDERATOR_AGENTS"), "federator-peers.federator-system.svc:7443")), "HOST:PORT of replicas of the pod's cluster, repeatable (env FEDERATOR_AGENTS, with commas)")
	f.StringVar(&p.token, "token-file", "/var/run/secrets/federator/token", "the pod's projected token, read anew each time")
}

func listOf(text string) []string {
	return slices.DeleteFunc(strings.Split(text, ","), func(s string) bool { return s == "" })
}

// check reports everything that is wrong at once, and reads the pins.
func (p *podTrust) check() (pins []identity.KeyID, err error) {
	errs := []error{identity.ValidateTrustDomain(p.trustDomain), catalog.ValidateLabel("--region", p.region), catalog.ValidateCluster(p.cluster)}
	for _, text := range p.pins {
		pin, err := identity.ParseKeyID(text)
		pins, errs = append(pins, pin), append(errs, err)
	}
	if len(pins) == 0 {
		errs = append(errs, errors.New("--pin: expected the key of a root: without one nobody is believed"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, usageError{fmt.Errorf("whom to trust is not known: %w; it is what \"federator svid trust\" prints, on a replica of the pod's cluster", err)}
	}
	return pins, nil
}

// ownToken reads the pod's token, and finds out whose it is and whether it may be
// sent.
func (p *podTrust) ownToken(now time.Time) (string, identity.ID, error) {
	f, err := os.Open(p.token)
	if err != nil {
		return "", identity.ID{}, fmt.Errorf("the pod's token: %w; mount a projected volume with a serviceAccountToken of audience %s, and give its path with --token-file", err, attest.Audience(p.trustDomain))
	}
	b, err := io.ReadAll(io.LimitReader(f, attest.MaxToken+2))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", identity.ID{}, fmt.Errorf("the pod's token %s: %w", p.token, err)
	}
	token := strings.TrimSpace(string(b))
	claims, err := attest.Read(token)
	if err == nil {
		err = claims.Check(attest.Audience(p.trustDomain), now)
	}
	if err != nil {
		return "", identity.ID{}, fmt.Errorf("the pod's token %s: %w", p.token, err)
	}
	return token, identity.WorkloadID(p.trustDomain, claims.Namespace, claims.ServiceAccount), nil
}

func (a *app) svidFetchCmd() *cobra.Command {
	var trust podTrust
	var dir string
	var renew bool
	cmd := &cobra.Command{
		Use: "fetch", Short: "Fetch the certificate of a pod's service account into a directory", Args: usage(cobra.NoArgs),
		Long: `Run this in a pod, as an init container, or with --renew as a sidecar. It makes a
key, proves the pod with its projected service account token to a replica of its own
cluster, and writes svid.pem (certificate and intermediate), key.pem (mode 0600) and
bundle.pem (the roots of the trust domain) in one step. The key leaves the pod with
nobody, and the token goes to no other cluster.`,
		Example: `  federator svid fetch --out /run/svid
  federator svid fetch --out /run/svid --renew`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pins, err := trust.check()
			if err != nil {
				return err
			}
			_, id, err := trust.ownToken(time.Now())
			if err != nil {
				return err
			}
			f := &fetcher{podTrust: trust, pins: pins, timeout: a.timeout}
			keeper := &svid.Keeper{Dir: dir, ID: id, Fetch: f.fetch, Now: time.Now, Jitter: rand.Float64, Log: a.logger(federation.Log{Level: "info", Format: "text"})}
			if renew {
				return keeper.Run(cmd.Context())
			}
			got, err := keeper.Once(cmd.Context())
			if err != nil {
				return err
			}
			return a.printFetched(id, dir, got)
		},
	}
	trust.flags(cmd.Flags(), a.env)
	cmd.Flags().StringVar(&dir, "out", "", "the directory to write to, which the pod's containers share")
	cmd.Flags().BoolVar(&renew, "renew", false, "stay, and renew half-way through the life of each certificate")
	required(cmd, "out")
	return cmd
}

func (a *app) printFetched(id identity.ID, dir string, got svid.Fetched) error {
	until := got.Leaf.NotAfter.UTC().Format(time.RFC3339)
	if a.output == "json" {
		return a.printJSON(map[string]any{"id": id.String(), "notAfter": until, "directory": dir, "address": got.From})
	}
	_, err := fmt.Fprintf(a.out, "%s until %s, in %s\n", id, until, dir)
	return err
}

// fetcher asks the replicas of the pod's cluster.
type fetcher struct {
	podTrust
	// pins are also of the roots that a pinned one has vouched for since.
	pins    []identity.KeyID
	timeout time.Duration
}

// atOneReplica bounds the attempt at one address, so that one that is silent leaves
// time for the others.
const atOneReplica = 8 * time.Second

func (f *fetcher) fetch(ctx context.Context, key crypto.Signer) (svid.Fetched, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	token, id, err := f.ownToken(time.Now())
	if err != nil {
		return svid.Fetched{}, err
	}
	addresses, err := svid.Agents(ctx, net.DefaultResolver.LookupHost, rand.Shuffle, f.agents)
	if err != nil {
		return svid.Fetched{}, err
	}
	joiner := &enroll.Joiner{Now: time.Now, Timeout: atOneReplica}
	got, err := joiner.FetchSVID(ctx, enroll.SVIDRequest{
		ID: id, Region: f.region, Cluster: f.cluster, Pins: f.pins, Addresses: addresses, Token: token, Key: key,
	})
	if err != nil {
		return svid.Fetched{}, err
	}
	for _, root := range got.Roots {
		if pin := identity.CertKeyID(root); !slices.Contains(f.pins, pin) {
			f.pins = append(f.pins, pin)
		}
	}
	return svid.Fetched{Chain: got.Chain, Leaf: got.Leaf, Roots: got.Roots, From: got.Address}, nil
}

func (a *app) svidTrustCmd() *cobra.Command {
	var namespace string
	cmd := a.ask("trust", "Print the ConfigMap by which pods know the replicas of this cluster", cobra.NoArgs,
		func(ctx context.Context, agent pb.OperatorClient, _ []string) (proto.Message, show, error) {
			r, err := agent.GetTrust(ctx, &pb.GetTrustRequest{})
			return r, func(p *printer) {
				p.line("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: federator-trust")
				if namespace != "" {
					p.line("  namespace: %q", namespace)
				}
				p.line("data:")
				p.line("  FEDERATOR_TRUST_DOMAIN: %q", r.GetTrustDomain())
				p.line("  FEDERATOR_REGION: %q", r.GetRegion())
				p.line("  FEDERATOR_CLUSTER: %q", r.GetCluster())
				p.line("  FEDERATOR_PINS: %q", strings.Join(r.GetPins(), ","))
			}, err
		})
	cmd.Long = `Print a ConfigMap, federator-trust, for the namespaces whose pods fetch certificates:
the trust domain, region and cluster, and the SHA-256 of the root's key, by which a
pod tells a replica from somebody who takes its place. Nothing of it is secret, but it
has to come from somebody you trust: with --context, or through "kubectl exec", it comes
through the API server of the cluster.`
	cmd.Example = `  federator svid trust --context us-west | kubectl --context us-west -n shop apply -f -`
	cmd.Flags().StringVar(&namespace, "namespace", "", "write this namespace into it")
	return cmd
}
