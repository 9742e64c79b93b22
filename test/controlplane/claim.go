//go:build linux

package controlplane

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// claims is where worlds note themselves: N.lock, held while the world N lives, and
// N.record, what it made.
const claims = "/run/federator-controlplane"

// maxWorlds is how many there can be on a machine at a time.
const maxWorlds = 32

// record is what a world made that a SIGKILL can leave: lines of a file, written
// before the thing is made. A process is noted with its start time, because
// process ids are used again.
type record struct {
	number int
	lock   *os.File

	mu   sync.Mutex
	file *os.File
}

// The kinds of lines.
const (
	recordProcess   = "process"   // id and start time
	recordDirectory = "directory" // to remove
	recordCgroup    = "cgroup"    // to remove
)

// claim takes the lowest number that no living world has and whose ports are free,
// and removes what dead worlds left.
func claim() (*record, error) {
	if err := Reap(); err != nil {
		return nil, err
	}
	for number := range maxWorlds {
		f, err := tryLock(number)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		// Another one can have come and gone since Reap.
		if err := errors.Join(reapWorld(number), portsFree(number)); err != nil {
			if closeErr := f.Close(); closeErr != nil || !errors.Is(err, errPortTaken) {
				return nil, errors.Join(err, closeErr)
			}
			continue
		}
		file, err := os.OpenFile(recordPath(number), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return &record{number: number, lock: f, file: file}, nil
	}
	return nil, fmt.Errorf("expected one of %d worlds to be free, found all taken: see %s", maxWorlds, claims)
}

func recordPath(number int) string { return filepath.Join(claims, strconv.Itoa(number)+".record") }

// tryLock returns the lock of a world, and nil if a living process has it.
func tryLock(number int) (*os.File, error) {
	if err := os.MkdirAll(claims, 0o700); err != nil {
		return nil, fmt.Errorf("where worlds note themselves: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(claims, strconv.Itoa(number)+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		closeErr := f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = nil
		}
		return nil, errors.Join(err, closeErr)
	}
	return f, nil
}

// errPortTaken says that a port of a world is somebody else's.
var errPortTaken = errors.New("port taken")

func portsFree(number int) error {
	for cluster := range maxClusters {
		for _, port := range []int{portEtcd, portEtcdPeer, portAPIServer} {
			l, err := net.Listen("tcp", fmt.Sprintf("0.0.0.0:%d", portOf(number, cluster, port)))
			if err != nil {
				return fmt.Errorf("%w: %w", errPortTaken, err)
			}
			if err := l.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// note adds a line.
func (r *record) note(kind string, words ...string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := fmt.Fprintln(r.file, kind, strings.Join(words, " ")); err != nil {
		return fmt.Errorf("note what this world makes: %w", err)
	}
	return nil
}

// add notes a process.
func (r *record) add(pid int) error {
	started, err := startTime(pid)
	if err != nil {
		return nil // it is gone already
	}
	return r.note(recordProcess, strconv.Itoa(pid), started)
}

// end removes all that was noted, and gives the number back.
func (r *record) end() error {
	return errors.Join(r.file.Close(), reapWorld(r.number), r.lock.Close())
}

// Reap removes what worlds left whose process is gone. Start does it first.
func Reap() error {
	var errs []error
	for number := range maxWorlds {
		if _, err := os.Stat(recordPath(number)); err != nil {
			continue
		}
		f, err := tryLock(number)
		if f == nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, reapWorld(number), f.Close())
	}
	return errors.Join(errs...)
}

// reapWorld removes what a record notes, and then the record. The caller has the lock.
func reapWorld(number int) error {
	f, err := os.Open(recordPath(number))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	noted := map[string][]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		noted[kind] = append(noted[kind], rest)
	}
	var errs []error
	for _, p := range noted[recordProcess] {
		errs = append(errs, endProcess(p))
	}
	for _, path := range noted[recordCgroup] {
		errs = append(errs, removeCgroup(path))
	}
	for _, path := range noted[recordDirectory] {
		errs = append(errs, os.RemoveAll(path))
	}
	errs = append(errs, removeLink(hostLink(number)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove what world %d left (%s): %w", number, recordPath(number), err)
	}
	return os.Remove(recordPath(number))
}

// removeLink removes a link of this machine, if it is still there: a link whose
// other end was in a network namespace goes with that.
func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// endProcess kills a process, given as its id and start time, and waits until it
// is gone.
func endProcess(noted string) error {
	id, started, _ := strings.Cut(noted, " ")
	pid, err := strconv.Atoi(id)
	if err != nil {
		return fmt.Errorf("expected a process id, found %q", id)
	}
	for deadline := time.Now().Add(goneWithin); ; time.Sleep(10 * time.Millisecond) {
		if now, err := startTime(pid); err != nil || now != started {
			return nil
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d is not gone %s after it was killed", pid, goneWithin)
		}
	}
}

// startTime is when a process was started, in ticks since the machine was; an
// error if there is none, or only what its parent has not yet looked at.
func startTime(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the name, in parentheses, and may hold anything.
	_, rest, found := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
	fields := strings.Fields(rest)
	const state, started = 0, 19
	if !found || len(fields) <= started {
		return "", fmt.Errorf("expected at least %d fields after the name in /proc/%d/stat, found %d", started+1, pid, len(fields))
	}
	if fields[state] == "Z" || fields[state] == "X" {
		return "", os.ErrProcessDone
	}
	return fields[started], nil
}
