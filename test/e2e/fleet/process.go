package fleet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/federator/federator/test/niceness"
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
	cmd.SysProcAttr = withParent()
	done := make(chan error, 1)
	s.work <- func() { done <- niceness.Ordinarily(cmd.Start) } // the lab may go before it
	return <-done
}

// process is a running child that writes to a log file.
type process struct {
	cmd  *exec.Cmd
	log  *os.File
	gone chan struct{} // closed when it has ended
}

// launch starts a command whose output goes to a log file.
func launch(start func(*exec.Cmd) error, logPath string, cmd *exec.Cmd) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, log: log, gone: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = log, log
	if err := start(cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", cmd.Path, err), log.Close())
	}
	go func() {
		defer close(p.gone)
		_ = cmd.Wait() // how it ended is in ProcessState
		_ = log.Close()
	}()
	return p, nil
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// kill ends the process at once and waits until the kernel has reaped it.
func (p *process) kill() { p.end(syscall.SIGKILL, 0) }

// end sends a signal and waits until the process is gone, for so long as it is
// given before it is killed.
func (p *process) end(signal syscall.Signal, patience time.Duration) (byItself bool) {
	_ = p.cmd.Process.Signal(signal) // it may be gone already
	select {
	case <-p.gone:
		return true
	case <-time.After(patience):
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.gone
	return false
}
