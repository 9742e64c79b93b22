package laptop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// greeting is the first that comes out of a tunnel; what follows is gRPC.
const greeting = "federator dial-stdio 1\n"

// Dial opens a tunnel to the socket of the replica in a pod. ctx bounds the opening
// only.
func (c *Cluster) Dial(ctx context.Context, pod string) (net.Conn, error) {
	near, far := net.Pipe()
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &tunnel{Conn: near, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(t.ended)
		err := c.Exec(running, pod, []string{program, "dial-stdio"}, Stdio{In: far, Out: far, Err: &t.complaint})
		t.err = with(err, t.complaint.String())
		_ = far.Close() // it never fails
	}()
	stop := context.AfterFunc(ctx, func() { _ = near.SetReadDeadline(time.Unix(1, 0)) })
	heard := make([]byte, len(greeting))
	n, err := io.ReadFull(near, heard)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil && string(heard) == greeting {
		return t, near.SetReadDeadline(time.Time{})
	}
	cause := ctx.Err()
	if cause != nil {
		cancel() // it has had its time, and the next pod may wait for its own
	}
	_ = t.Close() // what matters is why there is no tunnel
	switch {
	case cause != nil:
		return nil, fmt.Errorf("context %s: tunnel to pod %s: %w", c.Context, pod, cause)
	case n > 0:
		return nil, fmt.Errorf("context %s: tunnel to pod %s: expected federator to answer, found %q; is its image of another version?", c.Context, pod, heard[:n])
	case t.err == nil:
		t.err = io.ErrUnexpectedEOF
	}
	return nil, fmt.Errorf("context %s: tunnel to pod %s: %w", c.Context, pod, t.err)
}

// tunnel is the near end of one.
type tunnel struct {
	net.Conn
	cancel    context.CancelFunc
	ended     chan struct{}
	err       error // how it ended; read it after ended
	complaint bounded
}

// farewell is how long the program at the far end has to end by itself.
const farewell = time.Second

// Close ends the program at the far end, and waits until it has. It ends when its
// standard input does, unless something on the way does not pass that on.
func (t *tunnel) Close() error {
	err := t.Conn.Close()
	timer := time.AfterFunc(farewell, t.cancel)
	<-t.ended
	timer.Stop()
	t.cancel()
	return err
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	mu   sync.Mutex
	kept bytes.Buffer
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if room := maxPrinted - b.kept.Len(); room > 0 {
		b.kept.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (b *bounded) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimPrefix(strings.TrimSpace(b.kept.String()), "federator: ")
}
