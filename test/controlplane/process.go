//go:build linux

package controlplane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// spawner starts processes that die with the thread that started them, which lives
// until the spawner is closed or the process ends, however it does.
type spawner struct {
	work  chan func()
	done  chan struct{}
	close func()
}

func newSpawner() *spawner {
	s := &spawner{work: make(chan func()), done: make(chan struct{})}
	s.close = sync.OnceFunc(func() { close(s.done) })
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for {
			select {
			case f := <-s.work:
				f()
			case <-s.done:
				return
			}
		}
	}()
	return s
}

// start starts cmd in a process group of its own, so that Ctrl-C is not for it.
func (s *spawner) start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	result := make(chan error, 1)
	select {
	case s.work <- func() { result <- cmd.Start() }:
		return <-result
	case <-s.done:
		return errors.New("the world is closed")
	}
}

// process is a program of a cluster, which may run or not.
type process struct {
	name    string
	argv    []string
	log     string // a file that is added to
	spawner *spawner
	record  *record

	mu     sync.Mutex // guards what follows
	cmd    *exec.Cmd  // nil while it is meant to be away
	ended  chan struct{}
	status error // once ended is closed
}

// start starts it unless it runs.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil && !p.isOver() {
		return nil
	}
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := p.spawner.start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	if err := p.record.add(cmd.Process.Pid); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	p.cmd, p.ended = cmd, make(chan struct{})
	go func(ended chan struct{}) {
		p.status = cmd.Wait()
		close(ended)
	}(p.ended)
	return nil
}

func (p *process) isOver() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// pid is its process id, 0 if it does not run.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.isOver() {
		return 0
	}
	return p.cmd.Process.Pid
}

// over returns an error if the process ended without having been told to.
func (p *process) over() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || !p.isOver() {
		return nil
	}
	return fmt.Errorf("%s ended by itself: %v\n%s", p.name, p.status, tail(p.log, 15))
}

// signal sends a signal to the process, if it runs.
func (p *process) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.isOver() {
		return fmt.Errorf("%s does not run", p.name)
	}
	return p.cmd.Process.Signal(s)
}

// goneWithin is how long a process that was killed, or what it leaves, has to be gone: on a
// machine that stands still even the kernel takes its time.
const goneWithin = time.Minute

// kill ends it at once and waits until it is gone.
func (p *process) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	select {
	case <-p.ended:
		p.cmd = nil
	case <-time.After(goneWithin):
		err = errors.Join(err, fmt.Errorf("%s is not gone %s after it was killed", p.name, goneWithin))
	}
	return err
}

// tail is the last lines of a file.
func tail(path string, lines int) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const most = 64 << 10
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd) // else it is read from the start
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(string(bytes.TrimRight(text, "\n")), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
