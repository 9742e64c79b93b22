package devlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// starter starts processes from one thread that lives as long as the starter.
// Children ask the kernel to be killed with their parent, and to the kernel that
// is the thread which started them, not the process.
type starter struct{ work chan func() }

func newStarter() *starter {
	s := &starter{work: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for f := range s.work {
			f()
		}
	}()
	return s
}

// close ends the thread, and with it whatever it started.
func (s *starter) close() { close(s.work) }

func (s *starter) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = ownGroup()
	done := make(chan error, 1)
	s.work <- func() { done <- cmd.Start() }
	return <-done
}

// process is a running child.
type process struct {
	name string
	args []string
	cmd  *exec.Cmd
	log  *os.File
	gone chan struct{} // closed when it has ended
}

// launch starts a child that writes to a log file.
func (s *starter) launch(name, logPath, binary string, args ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, args: args, cmd: exec.Command(binary, args...), log: log, gone: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := s.start(p.cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	go func() {
		defer close(p.gone)
		_ = p.cmd.Wait() // how it ended is in ProcessState
		_ = p.log.Close()
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) running() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// kill ends the process at once and waits until the kernel has reaped it.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL) // it may be gone already
	<-p.gone
}

// stop asks processes to end, and kills those that do not in time.
func stop(processes []*process, patience time.Duration) {
	for _, p := range processes {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	deadline := time.After(patience)
	for _, p := range processes {
		select {
		case <-p.gone:
		case <-deadline:
			for _, p := range processes {
				p.kill()
			}
			return
		}
	}
}

// tail returns the last lines of a log file.
func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
