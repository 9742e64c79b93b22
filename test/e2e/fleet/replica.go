package fleet

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Replica is one agent of a fleet, and where it is. The address fields are
// host:port. Set them before the replica joins.
type Replica struct {
	Region, Cluster, Zone, Name   string
	Dir                           string // its data directory
	Peer, Gossip, DNS, HTTP, Sock string

	fleet   *Fleet
	machine Machine
	binary  string // of [Replica.StartWith]; "" for that of the fleet
	process *process
}

// String returns "region/name".
func (r *Replica) String() string { return r.Region + "/" + r.Name }

// Place decides what a replica is and where, and starts nothing. The cluster of
// region R is named R-1.
func (f *Fleet) Place(region, name string) *Replica {
	f.Helper()
	machine, err := f.machine(region, name)
	if err != nil {
		f.Fatal(err)
	}
	ip := machine.Address()
	f.mu.Lock()
	defer f.mu.Unlock()
	dir := filepath.Join(f.Dir, region, fmt.Sprintf("%s.%d", name, len(f.replicas)))
	r := &Replica{
		Region: region, Cluster: region + "-1", Zone: string(rune('a' + len(f.replicas)%2)), Name: name, Dir: dir, fleet: f, machine: machine,
		Peer: ip + ":7443", Gossip: ip + ":7946", DNS: ip + ":8600", HTTP: ip + ":7480", Sock: filepath.Join(dir, "federator.sock"),
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		f.Fatal(err)
	}
	f.replicas = append(f.replicas, r)
	return r
}

// Placing are the flags that init and join share.
func (r *Replica) Placing() []string {
	return []string{
		"--region", r.Region, "--cluster", r.Cluster, "--zone", r.Zone, "--name", r.Name, "--data-dir", r.Dir,
		"--peer-address", r.Peer, "--gossip-address", r.Gossip, "--dns-address", r.DNS,
	}
}

// Init founds the trust domain with a first replica in the region, and runs it.
func (f *Fleet) Init(region string) *Replica {
	f.Helper()
	r := f.Place(region, region+"-0")
	args := append([]string{"init", "--trust-domain", TrustDomain, "--recovery-key-file", filepath.Join(f.Dir, "recovery.key")}, r.Placing()...)
	f.execOn(r.machine.Start, f.command(args...), "").OK(f)
	r.Start()
	r.Ready()
	return r
}

// Join lets a new replica join by a token of issuer, and runs it.
func (f *Fleet) Join(issuer *Replica, region, name string) *Replica {
	f.Helper()
	r := f.Place(region, name)
	if err := r.JoinBy(issuer.Token()); err != nil {
		f.Fatal(err)
	}
	r.Start()
	r.Ready()
	return r
}

// Grow makes the regions of the federation complete: the first is founded by
// init, the others by join, each with so many replicas, named REGION-0 and on.
func (f *Fleet) Grow(replicas int, regions ...string) {
	f.Helper()
	first := f.Init(regions[0])
	f.together(regions, func(region string) error {
		issuer := first
		if region != first.Region {
			r := f.Place(region, region+"-0")
			if err := r.enter(first); err != nil {
				return err
			}
			issuer = r
		}
		for n := 1; n < replicas; n++ {
			if err := f.Place(region, fmt.Sprintf("%s-%d", region, n)).enter(issuer); err != nil {
				return err
			}
		}
		return nil
	})
}

// together does the same for all regions at once and ends the test if any fails.
func (f *Fleet) together(regions []string, do func(region string) error) {
	f.Helper()
	errs := make([]error, len(regions))
	var wg sync.WaitGroup
	for i, region := range regions {
		wg.Go(func() { errs[i] = do(region) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			f.Fatalf("region %s: %v", regions[i], err)
		}
	}
}

// enter joins, starts and waits until the replica is ready.
func (r *Replica) enter(issuer *Replica) error {
	var token Result
	err := Await(joinWithin, func() error {
		if token = issuer.CLI("token", "create"); token.Code != 0 {
			return fmt.Errorf("%s: token create: %s", issuer, token.Err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.JoinBy(strings.TrimSpace(token.Out)); err != nil {
		return err
	}
	r.Start()
	return Await(readyWithin, r.ready)
}

// Token returns a new join token of the replica.
func (r *Replica) Token() string {
	r.fleet.Helper()
	return strings.TrimSpace(r.CLI("token", "create").OK(r.fleet).Out)
}

// Join runs federator join with a token, or what stands for one.
func (r *Replica) Join(token string, more ...string) Result {
	args := append(append([]string{"join", token}, r.Placing()...), more...)
	return r.fleet.execOn(r.machine.Start, r.fleet.command(args...), "")
}

// joinWithin bounds how long joining is tried, on a busy machine and in a federation
// that changes.
const joinWithin = 60 * time.Second

// JoinBy joins by a token, and tries again while that does not succeed: which is safe
// with the same token and directory.
func (r *Replica) JoinBy(token string) error {
	return Await(joinWithin, func() error {
		if joined := r.Join(token); joined.Code != 0 {
			return fmt.Errorf("%s: join: %s", r, joined.Err)
		}
		return nil
	})
}

// StartWith is Start with another binary, which the replica keeps, and which is
// asked with from then on: as if it had been installed on its machine.
func (r *Replica) StartWith(binary string) {
	r.fleet.Helper()
	r.binary = binary
	r.Start()
}

// Start starts the agent and does not wait for it.
func (r *Replica) Start(more ...string) {
	r.fleet.Helper()
	if r.process.running() {
		r.fleet.Fatalf("%s runs already", r)
	}
	args := append([]string{"agent", "--data-dir", r.Dir, "--dns", r.DNS, "--http", r.HTTP, "--socket", r.Sock}, more...)
	if file := r.fleet.servicesFile(r.Region); file != "" {
		args = append(args, "--services", file)
	}
	if r.fleet.Config != "" {
		args = append(args, "--config", r.fleet.Config)
	}
	p, err := launch(r.machine.Start, r.logPath(), r.agentCommand(args))
	if err != nil {
		r.fleet.Fatalf("%s: %v", r, err)
	}
	r.process = p
}

// agentCommand is the command that runs the agent, under the fleet's own names.
func (r *Replica) agentCommand(args []string) *exec.Cmd {
	if r.fleet.Hosts == "" {
		return r.fleet.commandOf(r.program(), args...)
	}
	mount := []string{"--mount", "sh", "-ec", `mount --bind "$1" /etc/hosts; shift; exec "$@"`, "sh", r.fleet.Hosts, r.program()}
	return r.fleet.commandOf("unshare", append(mount, args...)...)
}

// Move gives a replica that does not run another address, and returns the flags
// with which its agent tells the others.
func (r *Replica) Move() []string {
	ip := r.fleet.Address()
	r.Peer, r.Gossip, r.DNS, r.HTTP = ip+":7443", ip+":7946", ip+":8600", ip+":7480"
	return []string{"--peer-address", r.Peer, "--gossip-address", r.Gossip, "--dns-address", r.DNS}
}

// readyWithin bounds how long an agent may take to be ready on a busy machine.
const readyWithin = 90 * time.Second

// Ready waits until the agent says that it is ready.
func (r *Replica) Ready() {
	r.fleet.Helper()
	r.fleet.Until(readyWithin, r.String()+" to be ready", r.ready)
}

// IsReady is nil if the agent says that it is ready.
func (r *Replica) IsReady() error { return r.ready() }

func (r *Replica) ready() error {
	if !r.process.running() {
		return fmt.Errorf("%s is not running; the end of its log:\n%s", r, r.Log(5))
	}
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DialContext: r.machine.DialContext, DisableKeepAlives: true}}
	answer, err := client.Get("http://" + r.HTTP + "/readyz")
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz says %s", answer.Status)
	}
	return nil
}

// program is the path of the federator on this replica's machine.
func (r *Replica) program() string { return cmp.Or(r.binary, r.fleet.binary) }

// Running reports whether the agent runs.
func (r *Replica) Running() bool { return r.process.running() }

// PID is the process id of the agent that was started last.
func (r *Replica) PID() int { return r.process.cmd.Process.Pid }

// Kill ends the agent as a crash does.
func (r *Replica) Kill() { r.process.kill() }

// Stop ends the agent as a service manager does; the test fails if it has to be
// killed after all.
func (r *Replica) Stop() {
	r.fleet.Helper()
	const within = 30 * time.Second
	if !r.process.end(syscall.SIGTERM, within) {
		r.fleet.Errorf("%s did not end within %v of SIGTERM", r, within)
	}
}

// Ended waits until the agent ends by itself and returns its exit code and the
// error that it ended with.
func (r *Replica) Ended(within time.Duration) (code int, said string, err error) {
	select {
	case <-r.process.gone:
	case <-time.After(within):
		return 0, "", fmt.Errorf("expected %s to end by itself within %v; the end of its log:\n%s", r, within, r.Log(5))
	}
	log := "\n" + r.Log(0)
	_, said, _ = strings.Cut(log[max(0, strings.LastIndex(log, "\nfederator: ")):], "federator: ")
	return r.process.cmd.ProcessState.ExitCode(), said, nil
}

func (r *Replica) logPath() string { return r.Dir + ".log" }

// LogPath is the file that holds what the replica's agents said, over restarts.
func (r *Replica) LogPath() string { return r.logPath() }

// Log returns the last lines of the agent's log, or all of it for 0.
func (r *Replica) Log(lines int) string {
	b, err := os.ReadFile(r.logPath())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	if lines > 0 {
		all = all[max(0, len(all)-lines):]
	}
	return strings.Join(all, "\n")
}
