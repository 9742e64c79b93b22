package fleet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TrustDomain and Zone are what every fleet uses.
const (
	TrustDomain = "e2e.example"
	Zone        = "clusterset.local"
)

// Fleet is the replicas of one test. Its methods that need no error end the test
// when they fail; call those from the test's own goroutine only.
type Fleet struct {
	testing.TB
	// Dir holds everything the fleet writes.
	Dir string
	// Config is the config file that agents are started with; "" for none.
	Config string
	// Hosts is a file that agents have for /etc/hosts; "" for that of this machine.
	// It may change while they run. It takes root and util-linux.
	Hosts string
	// Machines says where a replica runs that is placed from now on. Without it,
	// every one gets a loopback address of its own.
	Machines func(region, name string) (Machine, error)

	binary  string
	starter *starter
	block   string // of addresses, "127.x.y."
	lock    net.Listener

	mu       sync.Mutex // guards what follows
	replicas []*Replica
	services map[string]string // the services file of each region
	taken    int               // addresses of the block
	last     []func()
}

// BeforeRemoval has do called when all processes have ended, before the fleet's
// directory is removed.
func (f *Fleet) BeforeRemoval(do func()) { f.last = append(f.last, do) }

// New returns a fleet without replicas, of agents of the given binary. It goes
// with the test.
func New(t testing.TB, binary string) *Fleet {
	t.Helper()
	// Not t.TempDir: the path of a socket may have some 100 bytes, and the names of
	// tests are sentences.
	dir, err := os.MkdirTemp("", "fed-")
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{TB: t, Dir: dir, binary: binary, starter: newStarter(), services: map[string]string{}}
	t.Cleanup(f.close)
	if err := f.claim(); err != nil {
		t.Fatal(err)
	}
	return f
}

// Binary is the path of the federator under test.
func (f *Fleet) Binary() string { return f.binary }

// close ends every process, tells what they said if the test failed, and removes
// what they wrote.
func (f *Fleet) close() {
	for _, r := range f.Replicas("") {
		if r.process != nil {
			r.process.kill()
		}
	}
	f.starter.close()
	if f.lock != nil {
		_ = f.lock.Close()
	}
	if f.Failed() {
		for _, r := range f.Replicas("") {
			f.Logf("---- the end of the log of %s\n%s", r, r.Log(60))
		}
	}
	for _, do := range f.last {
		do()
	}
	if err := os.RemoveAll(f.Dir); err != nil {
		f.Logf("remove the fleet's directory: %v", err)
	}
}

// Replicas returns the replicas of a region, or all if region is "", in the
// order in which they were placed.
func (f *Fleet) Replicas(region string) []*Replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []*Replica
	for _, r := range f.replicas {
		if region == "" || r.Region == region {
			found = append(found, r)
		}
	}
	return found
}

// Until polls a condition until it holds and ends the test if it does not in
// time. what completes "waiting for".
func (f *Fleet) Until(within time.Duration, what string, try func() error) {
	f.Helper()
	if err := Await(within, try); err != nil {
		f.Fatalf("waiting %v for %s: %v", within, what, err)
	}
}

// Await polls a condition until it holds; the error is the last one seen.
func Await(within time.Duration, try func() error) error {
	deadline := time.Now().Add(within)
	for {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Write writes a file into the fleet's directory and returns its path.
func (f *Fleet) Write(name, text string) string {
	f.Helper()
	path := filepath.Join(f.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
	return path
}

// Serve makes text the content of the services file of a region, which its
// agents watch. Called before the agents start, it makes the file.
func (f *Fleet) Serve(region, text string) {
	f.Helper()
	path := filepath.Join(f.Dir, region+".yaml")
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		f.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.services[region] = path
}

func (f *Fleet) servicesFile(region string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.services[region]
}

// claim takes a block of 254 loopback addresses for this fleet alone: whoever
// listens on the last one owns the block.
func (f *Fleet) claim() (err error) {
	for range 100 {
		f.block = fmt.Sprintf("127.%d.%d.", 64+rand.IntN(128), rand.IntN(256))
		if f.lock, err = net.Listen("tcp", f.block+"254:7400"); err == nil {
			return nil
		}
	}
	return fmt.Errorf("no free block of loopback addresses: %w", err)
}

// Address returns a loopback address that nobody else has.
func (f *Fleet) Address() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken++
	return f.block + strconv.Itoa(f.taken)
}

func (f *Fleet) command(args ...string) *exec.Cmd { return f.commandOf(f.binary, args...) }

func (f *Fleet) commandOf(binary string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Dir = f.Dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "FEDERATOR_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}
