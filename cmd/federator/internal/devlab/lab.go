package devlab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options are what a [Lab] needs.
type Options struct {
	// Dir keeps the state. Empty means a temporary folder that goes with the Lab.
	Dir string
	// Binary is the federator to run.
	Binary string
	// Out is told what happens.
	Out io.Writer
}

// Lab is a running federation on this machine.
type Lab struct {
	*Plan
	dir       string
	temporary bool
	binary    string
	starter   *starter
	began     time.Time

	mu        sync.Mutex // guards out and everything below
	out       io.Writer
	processes map[string]*process // by replica name, and by region for its endpoints
	closed    map[string]bool     // replicas that are about to end or not yet back
}

// Open makes the plan of a federation, or takes up the one that dir holds, and
// checks that its addresses are free. Close it in any case.
func Open(opt Options) (*Lab, error) {
	l := &Lab{
		binary: opt.Binary, out: opt.Out, starter: newStarter(), began: time.Now(), processes: map[string]*process{}, closed: map[string]bool{},
	}
	if err := l.open(opt.Dir); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Lab) open(dir string) (err error) {
	if l.temporary = dir == ""; l.temporary {
		dir, err = os.MkdirTemp("", "federator-dev-")
	} else if dir, err = filepath.Abs(dir); err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	l.dir = dir
	if l.Plan, err = loadPlan(dir); err != nil {
		return err
	}
	for _, r := range l.Replicas {
		if len(r.Socket) > maxSocketPath {
			return fmt.Errorf("socket path %s has %d bytes: expected at most %d; use a shorter --dir", r.Socket, len(r.Socket), maxSocketPath)
		}
	}
	return l.checkFree()
}

// maxSocketPath is how long the path of a unix socket may be, in bytes.
const maxSocketPath = 104

// loadPlan makes the plan again from the ports that an earlier one took, because
// replicas keep the addresses that they joined with.
func loadPlan(dir string) (*Plan, error) {
	path := filepath.Join(dir, "ports.json")
	var ports []int
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if ports, err = freePorts(portsNeeded()); err != nil {
			return nil, err
		}
		if b, err = json.Marshal(ports); err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
	case err == nil:
		err = json.Unmarshal(b, &ports)
	}
	if err == nil && len(ports) != portsNeeded() {
		err = fmt.Errorf("expected %d ports, found %d; use an empty --dir", portsNeeded(), len(ports))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return NewPlan(dir, ports), nil
}

// Close ends every process and, if the state is temporary, removes it.
func (l *Lab) Close() {
	l.mu.Lock()
	var running []*process
	for _, p := range l.processes {
		if p.running() {
			running = append(running, p)
		}
	}
	l.mu.Unlock()
	stop(running, 5*time.Second)
	l.starter.close()
	if l.temporary && l.dir != "" {
		if err := os.RemoveAll(l.dir); err != nil {
			l.Say("could not remove %s: %v", l.dir, err)
		}
	}
}

// Say prints a line.
func (l *Lab) Say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, format+"\n", args...)
}

func (l *Lab) progress(format string, args ...any) {
	l.Say("[%4.1fs] %s", time.Since(l.began).Seconds(), fmt.Sprintf(format, args...))
}

// run runs a federator command to its end and returns what it printed. shown is
// how the command is printed for people; "" prints nothing.
func (l *Lab) run(ctx context.Context, shown string, args ...string) ([]byte, error) {
	if shown != "" {
		l.Say("$ %s", shown)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, l.binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := l.starter.start(cmd); err != nil {
		return nil, fmt.Errorf("federator %s: %w", args[0], err)
	}
	if err := cmd.Wait(); err != nil {
		return out.Bytes(), fmt.Errorf("federator %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errOut.String()+out.String()))
	}
	return out.Bytes(), nil
}

// Federator runs a command, printed as it runs.
func (l *Lab) Federator(ctx context.Context, args ...string) ([]byte, error) {
	return l.run(ctx, "federator "+strings.Join(args, " "), args...)
}

// quietly runs a command that is not part of the tale.
func (l *Lab) quietly(ctx context.Context, args ...string) ([]byte, error) {
	return l.run(ctx, "", args...)
}

// launch starts a long-running federator command under a name.
func (l *Lab) launch(name, logPath string, show bool, args ...string) error {
	if show {
		l.Say("$ federator %s &", strings.Join(args, " "))
	}
	p, err := l.starter.launch(name, logPath, l.binary, args...)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.processes[name] = p
	return nil
}

// process returns the process of that name, or nil.
func (l *Lab) process(name string) *process {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.processes[name]
}

func (l *Lab) running(name string) bool {
	p := l.process(name)
	return p != nil && p.running()
}

// serves reports whether a replica is expected to answer: it runs, and nobody is
// ending it or waiting for it to come up.
func (l *Lab) serves(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.processes[name]
	return p != nil && p.running() && !l.closed[name]
}

func (l *Lab) expect(name string, serving bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed[name] = !serving
}

// writeManifest replaces dev.json as a whole, with the processes as they are.
func (l *Lab) writeManifest() error {
	for _, r := range l.Replicas {
		if p := l.process(r.Name); p != nil {
			r.PID = p.pid()
		}
	}
	for _, e := range l.Endpoints {
		if p := l.process(e.Region); p != nil {
			e.PID = p.pid()
		}
	}
	b, err := json.MarshalIndent(l.Plan, "", "  ")
	if err != nil {
		return err
	}
	tmp := l.manifest() + ".tmp"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, l.manifest())
}

func (l *Lab) manifest() string { return filepath.Join(l.dir, "dev.json") }

// Attend waits until ctx ends and meanwhile says when a process ends, and how to
// start it again.
func (l *Lab) Attend(ctx context.Context) {
	reported := map[*process]bool{}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		for _, p := range l.processes {
			if !p.running() && !reported[p] {
				reported[p] = true
				fmt.Fprintf(l.out, "%s ended (%s); start it again with:\n  %s %s\n", p.name, ending(p), l.binary, strings.Join(p.args, " "))
			}
		}
		l.mu.Unlock()
	}
}

func ending(p *process) string {
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return "signal " + status.Signal().String()
	}
	return p.cmd.ProcessState.String()
}
