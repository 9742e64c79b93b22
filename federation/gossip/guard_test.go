package gossip

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// packed is a map in MessagePack, made from names and values in turn.
func packed(pairs ...any) []byte {
	b := []byte{packFixMap | byte(len(pairs)/2)}
	for _, p := range pairs {
		b = appendPacked(b, p)
	}
	return b
}

func appendPacked(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return append(append(b, packText8, byte(len(v))), v...)
	case int:
		return binary.BigEndian.AppendUint64(append(b, packInt64), uint64(int64(v)))
	case bool:
		if v {
			return append(b, packTrue)
		}
		return append(b, packFalse)
	case []byte: // as it is
		return append(b, v...)
	}
	return append(b, packNil)
}

func packedNode(versions string) []byte {
	return packed("Name", "eu/r9", "Addr", "\x7f\x00\x00\x01", "Port", 7946, "Meta", nil, "Incarnation", 1, "State", 0, "Vsn", versions)
}

const goodVersions = "\x01\x05\x02\x01\x01\x01"

// pushPull is a message as memberlist writes it.
func pushPull(user string, nodes ...[]byte) []byte {
	b := append([]byte{memberlistPushPull}, packed("Nodes", len(nodes), "UserStateLen", len(user), "Join", false)...)
	return append(append(b, bytes.Join(nodes, nil)...), user...)
}

func TestAStreamPassesOnlyIfAllOfItIsAsMemberlistWritesIt(t *testing.T) {
	header := func(pairs ...any) []byte { return append([]byte{memberlistPushPull}, packed(pairs...)...) }
	good := packedNode(goodVersions)
	tests := []struct {
		name    string
		message []byte
		words   string // of the refusal; "" if it passes
	}{
		{"two nodes and a state", pushPull("state", good, good), ""},
		{"nothing", pushPull(""), ""},
		{"an error", append([]byte{memberlistError}, packed("Error", "no")...), ""},
		{"a field that is not known", pushPull("", packed("Vsn", goodVersions, "New", 1<<40)), ""},
		{"small numbers and short texts", pushPull("", []byte{packFixMap | 2, packFixText | 3, 'V', 's', 'n', packFixText | 6, 1, 5, 2, 1, 1, 1, packFixText | 4, 'P', 'o', 'r', 't', 7}), ""},
		{"no versions", pushPull("", packedNode("")), "expected 6 versions, found 0"},
		{"one version", pushPull("", packedNode("\x01")), "expected 6 versions, found 1"},
		{"five versions", pushPull("", good, packedNode(goodVersions[:5])), "node 2 of 2"},
		{"seven versions", pushPull("", packedNode(goodVersions+"\x01")), "expected at most 6"},
		{"versions left out", pushPull("", packed("Name", "eu/r9")), "expected 6 versions"},
		{"versions twice", pushPull("", packed("Vsn", goodVersions, "Vsn", "\x01")), "twice"},
		{"versions as a list", pushPull("", packed("Vsn", []byte{0x91, 1})), "0x91"},
		{"lists in lists", pushPull("", packed("New", bytes.Repeat([]byte{0x91}, 1000))), "0x91"},
		{"a node as a list", pushPull("", []byte{0x97}), "expected a map"},
		{"a number as a text", pushPull("", packed("Port", "x")), "wrong kind"},
		{"a port that is none", pushPull("", packed("Port", 1<<16)), "expected at most 65535"},
		{"a long address", pushPull("", packed("Addr", strings.Repeat("x", 17))), "expected at most 16"},
		{"a name that is a number", pushPull("", packed(1, 1)), "the name of a field"},
		{"more nodes than are borne", header("Nodes", maxNodes+1), "expected at most"},
		{"less than no nodes", header("Nodes", -1), "below zero"},
		{"more state than is borne", header("UserStateLen", maxStreamBytes+1), "expected at most"},
		{"a state that takes the rest", header("UserStateLen", maxStreamBytes), "more than"},
		{"many fields", []byte{memberlistPushPull, packMap32, 0xff, 0xff, 0xff, 0xff}, "fields"},
		{"fewer nodes than it says", header("Nodes", 2), "EOF"},
		{"less state than it says", header("UserStateLen", 5), "EOF"},
		{"a ping", []byte{0, packFixMap}, "type 0"},
		{"a user message", []byte{8, packFixMap}, "type 8"},
		{"a compressed one", []byte{memberlistCompressed}, "type 9"},
		{"an encrypted one", []byte{10, 0, 0, 0, 1}, "type 10"},
		{"a label", []byte{244, 1, 'x'}, "type 244"},
		{"no byte", nil, "EOF"},
	}
	for _, tt := range tests {
		got, err := readMessage(bytes.NewReader(tt.message))
		switch {
		case tt.words == "" && (err != nil || !bytes.Equal(got, tt.message)):
			t.Errorf("%s: expected it to pass unchanged, found %q, %v", tt.name, got, err)
		case tt.words != "" && (err == nil || !strings.Contains(err.Error(), tt.words) || got != nil):
			t.Errorf("%s: expected a refusal with %q, found %v", tt.name, tt.words, err)
		}
	}
}

func TestAPacketPassesUnlessItWouldBeInflatedOrHoldsPartsInParts(t *testing.T) {
	compound := func(parts ...string) []byte {
		b := []byte{memberlistCompound, byte(len(parts))}
		for _, p := range parts {
			b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		}
		return append(b, strings.Join(parts, "")...)
	}
	sealed := func(b []byte) []byte { return append([]byte{memberlistChecksum, 0, 0, 0, 0}, b...) }
	tests := []struct {
		name   string
		packet []byte
		ok     bool
	}{
		{"a ping", []byte{0, 1}, true},
		{"with a checksum", sealed([]byte{0, 1}), true},
		{"with parts", compound("\x00a", "\x04b"), true},
		{"with parts and a checksum", sealed(compound("\x00a", "\x08\x09")), true},
		{"compressed", []byte{memberlistCompressed, 1}, false},
		{"compressed, with a checksum", sealed([]byte{memberlistCompressed, 1}), false},
		{"with a compressed part", compound("\x00a", "\x09b"), false},
		{"with parts in parts", compound("\x00a", string(compound("\x00a"))), false},
		{"with an empty part", compound(""), false},
		{"with a part cut off", compound("\x00abc")[:6], false},
		{"with lengths cut off", []byte{memberlistCompound, 9, 0}, false},
		{"with a checksum of nothing", sealed(nil), false},
		{"empty", nil, false},
	}
	for _, tt := range tests {
		if err := checkPacket(tt.packet); (err == nil) != tt.ok || err != nil && !errors.Is(err, errHarmful) {
			t.Errorf("a packet %s: %v", tt.name, err)
		}
	}
}

// shortVersions makes memberlist index out of range.
func shortVersions() []byte { return pushPull("", packedNode("\x01")) }

// unguardedVariable has the test below be the process that panics.
const unguardedVariable = "FEDERATOR_TEST_UNGUARDED"

func TestShortVersionsMakeMemberlistPanicAndTheGuardKeepsThemFromIt(t *testing.T) {
	if os.Getenv(unguardedVariable) != "" {
		sendUnguarded(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), unguardedVariable+"=1")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "index out of range") {
		t.Errorf("expected memberlist to panic without the guard, found %v: if it no longer does, the guard may go\n%s", err, out)
	}
	w := newWorld(t, "us eu", 1)
	w.until("two replicas to know each other", w.converged)
	attacked := w.get("us", 0)
	for _, message := range [][]byte{shortVersions(), {memberlistCompressed}, pushPull("", []byte{0x91})} {
		if answer, err := exchange(attacked, message); err == nil && len(answer) > 0 && answer[0] == memberlistPushPull {
			t.Errorf("%q was answered", message)
		}
	}
	// It lives, and answers what is well-formed with what passes the guard itself.
	answer, err := exchange(attacked, pushPull(""))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readMessage(bytes.NewReader(answer)); err != nil || !bytes.Equal(got, answer) || answer[0] != memberlistPushPull {
		t.Errorf("what memberlist writes does not pass: %v, %q", err, answer)
	}
}

// sendUnguarded hands memberlist a stream as it came.
func sendUnguarded(t *testing.T) {
	w := newWorld(t, "us", 1)
	n := w.get("us", 0)
	w.until("memberlist to run", func() bool { return n.list.Load() != nil })
	ours, theirs := net.Pipe()
	n.transport.streams <- theirs
	_, _ = ours.Write(shortVersions())
	_, _ = io.ReadAll(ours) // until it has taken the message in, or panics
}

// exchange sends a message to a replica as a peer does, and returns the answer.
func exchange(n *node, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(n.world.t.Context(), 10*time.Second)
	defer cancel()
	conn, err := n.dial(ctx, n.record.PeerAddress)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.Write(append(n.transport.appendPreamble(nil, kindMemberlist), message...)); err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	return io.ReadAll(conn)
}

// A peer that is asked may answer with harm as well.
func TestAnswersAreGuardedToo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write(shortVersions())
		_, _ = io.Copy(io.Discard, conn)
	}()
	w := newWorld(t, "us", 1)
	n := w.get("us", 0)
	w.until("memberlist to run", func() bool { return n.list.Load() != nil })
	n.directory.setMember(target{NodeName: NodeName{"eu", "evil"}, TCP: l.Addr().String()})
	conn, err := n.transport.DialAddressTimeout(memberlist.Address{Name: "eu/evil"}, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if b, err := io.ReadAll(conn); !errors.Is(err, errHarmful) || len(b) > 0 {
		t.Errorf("expected nothing to be read, found %q, %v", b, err)
	}
}

// deaf is a transport on which only streams come in.
type deaf struct {
	streams chan net.Conn
	packets chan *memberlist.Packet
}

func (d *deaf) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IPv4(127, 0, 0, 1), 7946, nil
}
func (d *deaf) WriteTo([]byte, string) (time.Time, error) { return time.Now(), nil }
func (d *deaf) PacketCh() <-chan *memberlist.Packet       { return d.packets }
func (d *deaf) StreamCh() <-chan net.Conn                 { return d.streams }
func (d *deaf) Shutdown() error                           { return nil }
func (d *deaf) DialTimeout(string, time.Duration) (net.Conn, error) {
	return nil, errShutdown
}

// What passes the guard goes to a real memberlist, which must live.
func FuzzWhatPassesTheGuardDoesMemberlistNoHarm(f *testing.F) {
	tr := &deaf{streams: make(chan net.Conn), packets: make(chan *memberlist.Packet)}
	c := memberlist.DefaultWANConfig()
	c.Name, c.Transport, c.Logger = "us/r0", tr, log.New(io.Discard, "", 0)
	c.ProbeInterval, c.PushPullInterval, c.GossipInterval = 0, 0, 0
	c.Alive = delegate{&Gossip{cfg: Config{Allowed: func(string, string) error { return nil }}}}
	list, err := memberlist.Create(c)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = list.Shutdown() })
	good := packedNode(goodVersions)
	for _, seed := range [][]byte{pushPull("state", good), shortVersions(), pushPull("", packed("Vsn", nil)), {memberlistError, packFixMap}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		message, err := readMessage(bytes.NewReader(b))
		if err != nil {
			return
		}
		if !bytes.HasPrefix(b, message) {
			t.Fatalf("%q became %q", b, message)
		}
		ours, theirs := net.Pipe()
		tr.streams <- &guarded{Conn: theirs, refused: func(err error) { t.Error(err) }}
		if _, err := ours.Write(message); err != nil {
			t.Fatal(err)
		}
		_ = ours.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, ours); err != nil {
			t.Fatal(err)
		}
	})
}
