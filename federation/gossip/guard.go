package gossip

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// The types of memberlist's messages that are told apart here.
const (
	memberlistPushPull   = 6
	memberlistCompound   = 7
	memberlistCompressed = 9
	memberlistChecksum   = 12
	memberlistError      = 13
)

const (
	// maxStreamBytes bounds a message on a memberlist stream, and maxNodes the nodes
	// in it.
	maxStreamBytes = 8 << 20
	maxNodes       = 16 << 10
	// versionBytes is how many versions memberlist writes of a node, and expects
	// without looking.
	versionBytes = 6
	// checksumBytes is the length of what precedes a packet with a checksum.
	checksumBytes = 5
)

// errHarmful is what memberlist would not survive, or only at great cost.
var errHarmful = errors.New("harmful message for memberlist")

func harmful(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errHarmful, fmt.Sprintf(format, args...))
}

// guarded is a stream of one message to memberlist, which trusts what it reads:
// a list of versions that is too short makes it panic, a small header makes it
// reserve much, and it inflates without bound. So the first read reads the whole
// message, and memberlist sees it only if all of it is as memberlist writes it.
type guarded struct {
	net.Conn
	refused func(error)
	message *bytes.Reader
	err     error
}

// Read implements net.Conn. It is used by one goroutine at a time.
func (g *guarded) Read(b []byte) (int, error) {
	if g.message == nil && g.err == nil {
		var message []byte
		if message, g.err = readMessage(g.Conn); g.err != nil {
			g.refused(g.err)
		}
		g.message = bytes.NewReader(message)
	}
	if g.err != nil {
		return 0, g.err
	}
	return g.message.Read(b)
}

// guard wraps a stream on which memberlist reads.
func (t *transport) guard(conn net.Conn) net.Conn {
	return &guarded{Conn: conn, refused: func(err error) {
		if errors.Is(err, errHarmful) {
			t.metrics.drop(dropUndecodable)
			t.log.Warn("gossip stream refused", "peer", conn.RemoteAddr().String(), "error", err)
		}
	}}
}

// readMessage reads one message: nodes and what the delegate says, or an error
// that the peer answers with. We send neither pings nor user messages on streams,
// and compress nothing.
func readMessage(from io.Reader) ([]byte, error) {
	m := &messageReader{from: bufio.NewReader(from)}
	kind, err := m.byte()
	if err != nil {
		return nil, err
	}
	switch kind {
	case memberlistPushPull:
		err = m.pushPull()
	case memberlistError:
		_, err = m.record(map[string]field{"Error": {aText, maxText}})
	default:
		err = harmful("type %d", kind)
	}
	if err != nil {
		return nil, err
	}
	return m.read.Bytes(), nil
}

func (m *messageReader) pushPull() error {
	header, err := m.record(map[string]field{
		"Nodes": {aNumber, maxNodes}, "UserStateLen": {aNumber, maxStreamBytes}, "Join": {aFlag, 1},
	})
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	node := map[string]field{
		"Name": {aText, 2*maxString + 1}, "Addr": {aText, net.IPv6len}, "Port": {aNumber, 1<<16 - 1}, "Meta": {aText, maxText},
		"Incarnation": {aNumber, 1<<32 - 1}, "State": {aNumber, 3}, "Vsn": {aText, versionBytes},
	}
	for i := range header["Nodes"] {
		found, err := m.record(node)
		if err == nil && found["Vsn"] != versionBytes {
			err = harmful("expected %d versions, found %d", versionBytes, found["Vsn"])
		}
		if err != nil {
			return fmt.Errorf("node %d of %d: %w", i+1, header["Nodes"], err)
		}
	}
	_, err = m.take(header["UserStateLen"])
	return err
}

// checkPacket refuses a packet that memberlist would have to inflate, and parts
// in parts, which it never sends.
func checkPacket(b []byte) error {
	if len(b) >= checksumBytes && b[0] == memberlistChecksum {
		b = b[checksumBytes:]
	}
	if len(b) < 2 || b[0] != memberlistCompound {
		return checkPart(b)
	}
	n, rest := int(b[1]), b[2:]
	if len(rest) < 2*n {
		return harmful("%d parts without their lengths", n)
	}
	lengths, rest := rest[:2*n], rest[2*n:]
	for ; len(lengths) > 0; lengths = lengths[2:] {
		size := int(binary.BigEndian.Uint16(lengths))
		if len(rest) < size {
			return harmful("a part of %d bytes, of which %d are there", size, len(rest))
		}
		if err := checkPart(rest[:size]); err != nil {
			return err
		}
		rest = rest[size:]
	}
	return nil
}

func checkPart(b []byte) error {
	if len(b) == 0 || b[0] == memberlistCompressed || b[0] == memberlistCompound {
		return harmful("a part that is empty, compressed or has parts")
	}
	return nil
}
