package port

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"
)

// maxSocketPath is what the kernels we run on allow, less the final zero.
const maxSocketPath = 103

// LocalConn is a connection to the Unix socket, with what the kernel says of the
// process at the other end.
type LocalConn struct {
	net.Conn
	UID, PID int
}

// localListener accepts [*LocalConn]s.
type localListener struct{ *net.UnixListener }

// ListenLocal opens the Unix socket at path. Anyone on the machine may connect,
// so that whoever may not call is told so instead of guessing at file modes: the
// server must decide by [LocalConn]. A socket that a killed process left is
// replaced; one that is in use is an error.
func ListenLocal(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket %s: expected a path of at most %d bytes, found %d; choose a shorter one", path, maxSocketPath, len(path))
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("open socket %s to others: %w", path, err)
	}
	return localListener{l}, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("socket %s: expected a socket or nothing, found a file of mode %s; choose another path or remove it", path, info.Mode())
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return fmt.Errorf("socket %s: another process listens on it; is an agent already running?", path)
	}
	return os.Remove(path)
}

// Accept returns the next connection whose process the kernel can name.
func (l localListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, pid, err := peerCredentials(c)
		if err == nil {
			return &LocalConn{Conn: c, UID: uid, PID: pid}, nil
		}
		_ = c.Close()
	}
}
