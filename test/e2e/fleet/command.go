package fleet

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/federator/federator/peering/pb"
)

// Result is what a command printed, and its exit code; -1 if it did not end.
type Result struct {
	Args     []string
	Out, Err string
	Code     int
}

// commandTimeout bounds every command.
const commandTimeout = 40 * time.Second

// Run runs a federator command to its end.
func (f *Fleet) Run(args ...string) Result { return f.Pipe("", args...) }

// Pipe runs a command with text on its standard input.
func (f *Fleet) Pipe(input string, args ...string) Result {
	return f.Exec(f.command(args...), input)
}

// Command returns a federator command that is not yet started.
func (f *Fleet) Command(args ...string) *exec.Cmd { return f.command(args...) }

// Start starts any command. It ends with the fleet at the latest, and with this process.
func (f *Fleet) Start(cmd *exec.Cmd) error { return f.starter.start(cmd) }

// Exec runs any command to its end.
func (f *Fleet) Exec(cmd *exec.Cmd, input string) Result {
	return f.execOn(f.starter.start, cmd, input)
}

// execOn is Exec with the start of the machine on which the command runs.
func (f *Fleet) execOn(start func(*exec.Cmd) error, cmd *exec.Cmd, input string) Result {
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errOut
	result := Result{Args: cmd.Args[1:], Code: -1}
	if err := start(cmd); err != nil {
		result.Err = err.Error()
		return result
	}
	timer := time.AfterFunc(commandTimeout, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	timer.Stop()
	result.Out, result.Err = out.String(), errOut.String()
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) {
		result.Code = cmd.ProcessState.ExitCode()
	}
	return result
}

// KilledAfter runs a command and kills it after a delay; it reports whether the
// command had ended by itself before, and what came of it.
func (f *Fleet) KilledAfter(delay time.Duration, args ...string) (result Result, ended bool) {
	cmd := f.command(args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := f.starter.start(cmd); err != nil {
		return Result{Args: args, Err: err.Error(), Code: -1}, true
	}
	timer := time.AfterFunc(delay, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait() // how it ended is in ProcessState
	timer.Stop()
	return Result{Args: args, Out: out.String(), Err: errOut.String(), Code: cmd.ProcessState.ExitCode()}, cmd.ProcessState.Exited()
}

// OK ends the test unless the command succeeded.
func (r Result) OK(t testing.TB) Result {
	t.Helper()
	if r.Code != 0 {
		t.Fatalf("federator %s: expected success, found exit code %d\n%s%s", strings.Join(r.Args, " "), r.Code, r.Err, r.Out)
	}
	return r
}

// Fails fails the test unless the command failed with the exit code and its error
// says all of the words.
func (r Result) Fails(t testing.TB, code int, words ...string) Result {
	t.Helper()
	if r.Code != code {
		t.Errorf("federator %s: expected exit code %d, found %d\n%s%s", strings.Join(r.Args, " "), code, r.Code, r.Err, r.Out)
	}
	for _, w := range words {
		if !strings.Contains(r.Err, w) {
			t.Errorf("federator %s: expected an error that says %q, found %q", strings.Join(r.Args, " "), w, r.Err)
		}
	}
	return r
}

// CLI runs a command that asks this replica over its socket.
func (r *Replica) CLI(args ...string) Result {
	return r.fleet.Exec(r.fleet.commandOf(r.program(), append(args, "--socket", r.Sock)...), "")
}

// Near runs a command on the machine of this replica, from where its peer port can
// be reached in every network.
func (r *Replica) Near(args ...string) Result {
	return r.fleet.execOn(r.machine.Start, r.fleet.commandOf(r.program(), args...), "")
}

// Ask runs a command with -o json and reads its answer.
func (r *Replica) Ask(answer proto.Message, args ...string) error {
	result := r.CLI(append(args, "-o", "json")...)
	if result.Code != 0 {
		return errors.New(strings.TrimSpace(result.Err))
	}
	return unmarshal(result.Out, answer)
}

func unmarshal(text string, answer proto.Message) error {
	return protojson.Unmarshal([]byte(text), answer)
}

// Call asks the replica the same as the command line does, without starting a
// process for it: for what is asked many times.
func (r *Replica) Call(ask func(context.Context, pb.OperatorClient) error) error {
	conn, err := dial(r.Sock)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(ask(ctx, pb.NewOperatorClient(conn)), conn.Close())
}

// Status is what federator status says.
func (r *Replica) Status() (*pb.StatusResponse, error) {
	var s pb.StatusResponse
	return &s, r.Ask(&s, "status")
}

// RegionStatus is what federator status says of one region.
func (r *Replica) RegionStatus(region string) (*pb.RegionStatus, error) {
	s, err := r.Status()
	if err != nil {
		return nil, err
	}
	for _, found := range s.GetRegions() {
		if found.GetName() == region {
			return found, nil
		}
	}
	return nil, errors.New("status does not list region " + region)
}
