//go:build !linux

package dns

import (
	"net/netip"
	"syscall"
)

const canShare = false

func controlUDP(bool) func(string, string, syscall.RawConn) error { return nil }

func replyFrom([]byte) netip.Addr { return netip.Addr{} }
