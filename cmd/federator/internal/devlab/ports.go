package devlab

import (
	"errors"
	"fmt"
	"net"
)

// freePorts returns n ports of 127.0.0.1 that are free for TCP and UDP.
func freePorts(n int) (ports []int, err error) {
	var held []interface{ Close() error }
	defer func() {
		for _, c := range held {
			err = errors.Join(err, c.Close())
		}
	}()
	for tries := 0; len(ports) < n && tries < 10*n; tries++ {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("looking for free ports: %w", err)
		}
		held = append(held, tcp)
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err != nil {
			continue // taken for UDP: the next one
		}
		held = append(held, udp)
		ports = append(ports, tcp.Addr().(*net.TCPAddr).Port)
	}
	if len(ports) < n {
		return nil, fmt.Errorf("expected %d free ports on 127.0.0.1, found %d", n, len(ports))
	}
	return ports, nil
}

// checkFree reports every address of the plan that is taken.
func (p *Plan) checkFree() error {
	var errs []error
	try := func(what, address string) {
		l, err := net.Listen("tcp", address)
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	for _, r := range p.Replicas {
		try(r.Name+" DNS", r.DNS)
		try(r.Name+" RPC", r.RPC)
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
