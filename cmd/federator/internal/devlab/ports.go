package devlab

import (
	"errors"
	"fmt"
	"net"
)

// Ports are sought in a range that systems do not hand out for outgoing
// connections. One of those could take the port of a replica that was killed,
// or even connect to itself.
const firstPort, lastPort = 17_000, 30_000

// freePorts returns n ports that are free for TCP and UDP on 127.0.0.1.
func freePorts(n int) ([]int, error) {
	var ports []int
	for port := firstPort; port < lastPort && len(ports) < n; port++ {
		if free(fmt.Sprintf("127.0.0.1:%d", port)) == nil {
			ports = append(ports, port)
		}
	}
	if len(ports) < n {
		return nil, fmt.Errorf("expected %d free ports on 127.0.0.1 from %d to %d, found %d", n, firstPort, lastPort, len(ports))
	}
	return ports, nil
}

// free returns an error if an address is taken for TCP or UDP.
func free(address string) error {
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", address)
	if err == nil {
		err = udp.Close()
	}
	return errors.Join(err, tcp.Close())
}

// checkFree reports every address of the plan that is taken.
func (p *Plan) checkFree() error {
	var errs []error
	try := func(what, address string) {
		if err := free(address); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	for _, r := range p.Replicas {
		try(r.Name+" DNS", r.DNS)
		try(r.Name+" RPC", r.RPC)
		try(r.Name+" gossip", r.Gossip)
		try(r.Name+" HTTP", r.HTTP)
	}
	for _, e := range p.Endpoints {
		try("endpoint of "+e.Service, e.Address)
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w\nis another federator dev running? Stop it first", errors.Join(errs...))
	}
	return nil
}
