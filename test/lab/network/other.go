//go:build !linux

package network

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
)

// namespace cannot be made here.
type namespace struct{ close func() }

func newNamespace() (*namespace, error) { return nil, ErrUnavailable }

func (n *namespace) do(func() error) error { return ErrUnavailable }

func (n *namespace) dial(context.Context, string, string) (net.Conn, error) {
	return nil, ErrUnavailable
}

func (n *namespace) layRegion(netip.Prefix, netip.Prefix) (*os.File, error) {
	return nil, ErrUnavailable
}

func (n *namespace) layHost(*namespace, string, netip.Prefix, netip.Addr) error {
	return ErrUnavailable
}

func (n *namespace) enforce([]rule) error { return ErrUnavailable }

func ofHost(*exec.Cmd) {}
