package gossip

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip/verdict"
)

var (
	someNode    = NodeName{"eu-central", "r1"}
	someVersion = catalog.HealthVersion{Epoch: 1, Term: 256, Seq: 7}
	someRequest = echoRequest{Seq: 9, Nonce: 77, From: someNode, Sent: 1234567890, Room: 100}
	someReply   = echoReply{
		Seq: 9, Nonce: 77, From: someNode, Sent: 1, Received: 2, Answered: 3,
		Summaries: []summary{{Region: "us-west", Age: 150 * time.Millisecond, Sent: 15, Answered: 12}},
	}
	someDigests = []catalog.HealthDigest{{Cluster: "eu-1", Confirmed: someVersion, Highest: someVersion, Hash: 42}}
)

func TestMessagesSurviveTheWire(t *testing.T) {
	d := flip("e1", 3)
	wire, refused := encodeDelta(d, maxPacketMessage)
	if got, err := decodeDelta(wire[0]); refused != 0 || err != nil || !reflect.DeepEqual(got, d) {
		t.Errorf("delta: %v, %v", got, err)
	}
	m := resync{Cluster: "eu-1", Version: someVersion, Origin: someNode}
	if got, err := decodeResync(encodeResync(m)); err != nil || got != m {
		t.Errorf("resync: %v, %v", got, err)
	}
	from, digests, err := decodeDigests(encodeDigests(someNode, someDigests))
	if err != nil || from != someNode || !reflect.DeepEqual(digests, someDigests) {
		t.Errorf("digests: %v, %v, %v", from, digests, err)
	}
	if got, err := decodeAsk(encodeAsk([]string{"a", "b.c"})); err != nil || !reflect.DeepEqual(got, []string{"a", "b.c"}) {
		t.Errorf("ask: %v, %v", got, err)
	}
	if got, err := decodeRequest(encodeRequest(someRequest)); err != nil || got != someRequest {
		t.Errorf("request: %v, %v", got, err)
	}
	if got, err := decodeReply(encodeReply(someReply, maxEcho)); err != nil || !reflect.DeepEqual(got, someReply) {
		t.Errorf("reply: %v, %v", got, err)
	}
}

func TestALargeDeltaIsSplitAndWhatTheWireCannotCarryIsCounted(t *testing.T) {
	d := catalog.HealthDelta{Cluster: testCluster}
	for i := range uint64(100) {
		d.Changes = append(d.Changes, flip("an-endpoint-with-a-long-name", i).Changes...)
	}
	d.Changes = append(d.Changes, flip("", 1).Changes[0], flip("a\nb", 1).Changes[0])
	messages, refused := encodeDelta(d, maxPacketMessage)
	n := 0
	for _, m := range messages {
		got, err := decodeDelta(m)
		if err != nil || len(m) > maxPacketMessage {
			t.Fatalf("message of %d bytes: %v", len(m), err)
		}
		n += len(got.Changes)
	}
	if n != 100 || refused != 2 || len(messages) < 3 {
		t.Errorf("%d changes in %d messages, %d refused", n, len(messages), refused)
	}
}

func FuzzUserMessagesNeverPanicAndReadBackAsWritten(f *testing.F) {
	wire, _ := encodeDelta(flip("e1", 3), maxPacketMessage)
	f.Add(wire[0])
	f.Add(encodeResync(resync{Cluster: "eu-1", Version: someVersion, Origin: someNode}))
	f.Add(encodeDigests(someNode, someDigests))
	f.Add(encodeAsk([]string{"a", "b"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := decodeDelta(b); err == nil && len(d.Changes) > 0 {
			again, refused := encodeDelta(d, len(b)+binaryMax)
			if refused != 0 || len(again) != 1 {
				t.Fatalf("%v reads but does not write", d)
			}
			if back, err := decodeDelta(again[0]); err != nil || !reflect.DeepEqual(back, d) {
				t.Fatalf("%v became %v, %v", d, back, err)
			}
		}
		if m, err := decodeResync(b); err == nil {
			if back, err := decodeResync(encodeResync(m)); err != nil || back != m {
				t.Fatalf("%v became %v, %v", m, back, err)
			}
		}
		if from, digests, err := decodeDigests(b); err == nil {
			if _, back, err := decodeDigests(encodeDigests(from, digests)); err != nil || !reflect.DeepEqual(back, digests) {
				t.Fatalf("%v became %v, %v", digests, back, err)
			}
		}
		decodeAsk(b)
		decodeMeta(b)
	})
}

// binaryMax is more than the length of any count on the wire.
const binaryMax = 16

func FuzzEchoesNeverPanicAndAreNeverAmplified(f *testing.F) {
	f.Add(encodeRequest(someRequest))
	f.Add(encodeReply(someReply, maxEcho))
	o := newObserver(NodeName{"eu-central", "r0"}, verdict.Standard(), func() uint64 { return 1 })
	o.direct(0, []target{{NodeName: someNode}, {NodeName: NodeName{"us-west", "r0"}}, {NodeName: NodeName{"asia-east", "r0"}}})
	now := time.Duration(0)
	f.Fuzz(func(t *testing.T, b []byte) {
		now += 10 * time.Millisecond
		o.due(now, int64(now))
		if q, err := decodeRequest(b); err == nil {
			reply := o.request(now, int64(now), q)
			if n := len(encodeReply(reply, len(b))); n > len(b) {
				t.Fatalf("a request of %d bytes is answered with %d", len(b), n)
			}
		}
		if r, err := decodeReply(b); err == nil {
			o.reply(now, int64(now), r)
		}
		o.judge(now, func(string) (time.Duration, bool) { return verdict.Never, true })
	})
}

func FuzzPacketsNeverPanic(f *testing.F) {
	ring, _ := NewKeyring(testKey)
	m, _ := newMetrics(nil, nil)
	tr := &transport{
		keyring: ring, domain: []byte("acme.example"), metrics: m,
		packets: make(chan *memberlist.Packet, 1),
		echo:    func(b []byte, _ netip.AddrPort) { decodeRequest(b); decodeReply(b) },
	}
	f.Add([]byte{kindEcho, sealVersion})
	f.Add(ring.seal([]byte{kindEcho}, encodeRequest(someRequest), tr.additional(kindEcho)))
	f.Fuzz(func(_ *testing.T, b []byte) {
		tr.packet(b, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
		_ = checkPacket(b)
	})
}

// byteConn is a net.Conn that yields fixed bytes.
type byteConn struct {
	net.Conn
	in io.Reader
}

func (c byteConn) Read(b []byte) (int, error)        { return c.in.Read(b) }
func (c byteConn) SetDeadline(time.Time) error       { return nil }
func (c byteConn) Close() error                      { return nil }
func (c byteConn) Write(b []byte) (n int, err error) { return len(b), nil }

func FuzzStreamsNeverPanic(f *testing.F) {
	tr := &transport{domain: []byte("acme.example"), open: map[*stream]struct{}{}}
	f.Add(append(tr.appendPreamble(nil, kindMemberlist), pushPull("state", packedNode(goodVersions))...))
	f.Add(append(tr.appendPreamble(nil, kindReliable), 0, 0, 0, 2, 1, 4))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &stream{Conn: byteConn{in: bytes.NewReader(b)}, owner: tr}
		kind, err := tr.preamble(s)
		if err != nil {
			return
		}
		if kind == kindMemberlist {
			if message, err := readMessage(s); err == nil && !bytes.Contains(b, message) {
				t.Fatalf("%q became %q", b, message)
			}
			return
		}
		if frame, err := readFrame(s); err == nil {
			decodeAsk(frame)
		}
	})
}
