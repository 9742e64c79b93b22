package fleet

import (
	"context"
	"net"
	"os/exec"
)

// Dialer connects from somewhere to an IP address and a port.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Machine is where a replica runs: a loopback address of this machine, or a host
// of a network that a test made.
type Machine interface {
	Dialer
	// Address is its IP address.
	Address() string
	// Start starts a command there, which dies with this process.
	Start(cmd *exec.Cmd) error
}

// local is a loopback address of this machine.
type local struct {
	net.Dialer
	address string
	starter *starter
}

func (l *local) Address() string           { return l.address }
func (l *local) Start(cmd *exec.Cmd) error { return l.starter.start(cmd) }

// machine decides where a replica runs.
func (f *Fleet) machine(region, name string) (Machine, error) {
	if f.Machines == nil {
		return &local{address: f.Address(), starter: f.starter}, nil
	}
	return f.Machines(region, name)
}
