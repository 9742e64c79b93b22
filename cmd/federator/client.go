package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"k8s.io/klog/v2"

	"github.com/federator/federator/kube/laptop"
	"github.com/federator/federator/peering/pb"
)

// errUnreachable says that no agent answered.
var errUnreachable = errors.New("no agent answers")

// reach says how a command reaches an agent: by the local socket, by mTLS with an
// operator's certificate, or through the API server of its cluster.
type reach struct {
	socket   string
	address  string
	identity string

	contexts   []string
	kubeconfig string
	namespace  string
}

// conn is a connection to an agent.
type conn interface {
	grpc.ClientConnInterface
	Close() error
}

// defaultDataDir is where an agent keeps its data if nobody says otherwise.
const defaultDataDir = "/var/lib/federator"

func (r *reach) flags(flags *pflag.FlagSet, env func(string) string) {
	flags.StringVar(&r.socket, "socket", defaultSocket(env), "the agent's socket (env FEDERATOR_SOCKET, else FEDERATOR_DATA_DIR/federator.sock)")
	flags.StringVar(&r.address, "address", env("FEDERATOR_ADDRESS"), "reach an agent at HOST:PORT instead, with --identity (env FEDERATOR_ADDRESS)")
	flags.StringVar(&r.identity, "identity", env("FEDERATOR_IDENTITY"), "directory of an operator's certificate, made by \"federator operator create\" (env FEDERATOR_IDENTITY)")
	flags.StringArrayVar(&r.contexts, "context", nil, "reach an agent in a pod of this Kubernetes cluster instead: a context of the kubeconfig")
	flags.StringVar(&r.kubeconfig, "kubeconfig", "", "kubeconfig file of --context (default: KUBECONFIG, else ~/.kube/config)")
	flags.StringVar(&r.namespace, "federator-namespace", laptop.DefaultNamespace, "where federator is in the cluster of --context")
}

func dataDirOf(env func(string) string) string {
	if dir := env("FEDERATOR_DATA_DIR"); dir != "" {
		return dir
	}
	return defaultDataDir
}

func defaultSocket(env func(string) string) string {
	if socket := env("FEDERATOR_SOCKET"); socket != "" {
		return socket
	}
	return filepath.Join(dataDirOf(env), "federator.sock")
}

// connect returns a connection to the agent; it is made at the first call, unless it
// goes through an API server.
func (r *reach) connect(ctx context.Context) (conn, error) {
	limit := grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer))
	switch {
	case len(r.contexts) > 0:
		return r.through(ctx)
	case r.address == "" && r.identity != "":
		return nil, usageError{errors.New("--identity needs --address HOST:PORT of an agent")}
	case r.address == "":
		path, err := filepath.Abs(r.socket)
		if err != nil {
			return nil, err
		}
		return grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()), limit)
	case r.identity == "":
		return nil, usageError{errors.New("--address needs --identity DIR with an operator's certificate; make one with \"federator operator create\"")}
	}
	credentials, err := operatorCredentials(r.identity)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("passthrough:///"+r.address, grpc.WithTransportCredentials(credentials), limit)
}

// through connects through the API server of the one context that was given.
func (r *reach) through(ctx context.Context) (conn, error) {
	cluster, err := r.cluster()
	if err != nil {
		return nil, err
	}
	agent, err := cluster.Agent(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	return agent, nil
}

// consistent says which flags do not go together.
func (r *reach) consistent(cmd *cobra.Command) error {
	switch {
	case len(r.contexts) > 0 && cmd.Annotations[local] != "":
		return usageError{fmt.Errorf("%s works on this machine, and not in the cluster of --context", cmd.CommandPath())}
	case len(r.contexts) > 0 && (cmd.Flags().Changed("address") || cmd.Flags().Changed("socket")):
		return usageError{errors.New("--context, --address and --socket are three ways to reach an agent: expected one of them")}
	case len(r.contexts) == 0 && r.kubeconfig != "" && !cmd.Flags().Changed(cmd.Annotations[instead]):
		return usageError{errors.New("--kubeconfig needs --context, which says which of its clusters is meant")}
	}
	return nil
}

// cluster is that of the one context that was given.
func (r *reach) cluster() (*laptop.Cluster, error) {
	if len(r.contexts) != 1 {
		return nil, usageError{fmt.Errorf("expected one --context, found %d; only check takes several", len(r.contexts))}
	}
	return r.open(r.contexts[0])
}

// open opens the cluster of a context.
func (r *reach) open(name string) (*laptop.Cluster, error) {
	// What fails is returned; what client-go says besides would stand between the lines
	// of a command.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	cluster, err := laptop.Open(laptop.Access{Kubeconfig: r.kubeconfig, Context: name, Namespace: r.namespace, Build: ownVersion().GetVersion()})
	if err != nil {
		return nil, usageError{err}
	}
	return cluster, nil
}

// maxAnswer bounds an agent's answer, in bytes.
const maxAnswer = 64 << 20

func (r *reach) String() string {
	if len(r.contexts) > 0 {
		return "context " + strings.Join(r.contexts, ", ")
	}
	if r.address != "" {
		return r.address
	}
	return "socket " + r.socket
}

// plain turns an RPC error into words.
func (r *reach) plain(err error) error {
	s, ok := status.FromError(err)
	if !ok || err == nil {
		return err
	}
	switch s.Code() {
	case codes.Unavailable:
		if len(r.contexts) > 0 {
			return fmt.Errorf("%w in %s (%s); see federator check --context %s", errUnreachable, r, dialed(s.Message()), strings.Join(r.contexts, " --context "))
		}
		return fmt.Errorf("%w on %s (%s); is \"federator agent\" running there? Give --socket, or --address and --identity, of one that is", errUnreachable, r, dialed(s.Message()))
	case codes.DeadlineExceeded:
		return fmt.Errorf("no answer from %s in time (%s); see \"federator status\", or give a longer --timeout", r, s.Message())
	case codes.Unimplemented:
		return fmt.Errorf("the agent does not know this call (%s); it runs another version, see \"federator version --agent\"", s.Message())
	case codes.InvalidArgument:
		return usageError{errors.New(s.Message())}
	}
	return errors.New(s.Message())
}

// ofFile is plain for calls that carry a file: what is wrong with that is no
// mistake in the command line.
func (r *reach) ofFile(err error) error {
	err = r.plain(err)
	var mistake usageError
	if errors.As(err, &mistake) {
		return mistake.error
	}
	return err
}

// dialed shortens gRPC's account of a failed connection to what the system said.
func dialed(text string) string {
	if i := strings.LastIndex(text, "dial "); i >= 0 {
		return strings.TrimSuffix(text[i:], `"`)
	}
	return text
}

// call opens a connection for one use.
func (a *app) call(ctx context.Context, use func(context.Context, pb.OperatorClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	conn, err := a.reach.connect(ctx)
	if err != nil {
		return err
	}
	err = use(ctx, pb.NewOperatorClient(conn))
	if cerr := conn.Close(); err == nil {
		err = cerr
	}
	return a.reach.plain(err)
}

// show is how an answer is printed as text.
type show func(*printer)

// question asks an agent one thing.
type question func(ctx context.Context, agent pb.OperatorClient, args []string) (proto.Message, show, error)

// ask makes a command of a question; the answer is printed as text or as JSON.
func (a *app) ask(use, short string, args cobra.PositionalArgs, q question) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: usage(args),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.call(cmd.Context(), func(ctx context.Context, agent pb.OperatorClient) error {
				message, text, err := q(ctx, agent, args)
				if err != nil {
					return err
				}
				return a.print(message, text)
			})
		},
	}
}
