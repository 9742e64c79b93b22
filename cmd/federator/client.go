package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
)

// errUnreachable says that no agent answered.
var errUnreachable = errors.New("no agent answers")

// reach says how a command reaches an agent: by the local socket, or by mTLS
// with an operator's certificate.
type reach struct {
	socket   string
	address  string
	identity string
}

// defaultDataDir is where an agent keeps its data if nobody says otherwise.
const defaultDataDir = "/var/lib/federator"

func (r *reach) flags(flags *pflag.FlagSet, env func(string) string) {
	flags.StringVar(&r.socket, "socket", defaultSocket(env), "the agent's socket (env FEDERATOR_SOCKET, else FEDERATOR_DATA_DIR/federator.sock)")
	flags.StringVar(&r.address, "address", env("FEDERATOR_ADDRESS"), "reach an agent at HOST:PORT instead, with --identity (env FEDERATOR_ADDRESS)")
	flags.StringVar(&r.identity, "identity", env("FEDERATOR_IDENTITY"), "directory of an operator's certificate, made by \"federator operator create\" (env FEDERATOR_IDENTITY)")
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

// connect returns a connection to the agent; it is made at the first call.
func (r *reach) connect() (*grpc.ClientConn, error) {
	limit := grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer))
	switch {
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

// maxAnswer bounds an agent's answer, in bytes.
const maxAnswer = 64 << 20

func (r *reach) String() string {
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
	conn, err := a.reach.connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
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
