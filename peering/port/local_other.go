//go:build !linux && !darwin

package port

import (
	"errors"
	"net"
)

// peerCredentials is known for Linux and macOS only; elsewhere the socket admits nobody.
func peerCredentials(*net.UnixConn) (uid, pid int, err error) {
	return 0, 0, errors.New("this operating system does not tell who connects to a socket")
}
