package gossip

import (
	"encoding/binary"
	"math"
	"time"
)

// An echo is a sealed packet that is answered at once. The request is padded so
// that its answer is never larger: a forged sender gains nothing. The answer
// repeats the sequence number, the nonce and the asker's clock, and adds the
// answerer's clocks; between siblings it also carries what the answerer has seen
// of the other regions. Because it repeats the nonce it cannot be replayed.
const (
	kindRequest = 0x11
	kindReply   = 0x12
)

const (
	// replyBase is the largest reply without summaries, and so the least a
	// request is padded to.
	replyBase = 2 + 4 + 8 + 3*8 + 1 + 127 + 1
	// maxEcho bounds the plain form of an echo.
	maxEcho = 1300
	// maxSummaries bounds the regions in one reply.
	maxSummaries = 64
	minSummary   = 2 + 4 + 2*2
)

type echoRequest struct {
	Seq   uint32
	Nonce uint64
	From  NodeName
	Sent  int64 // the sender's clock, in nanoseconds since the Unix epoch
	// Room is how many bytes of summaries the answer may carry.
	Room int
}

type echoReply struct {
	Seq       uint32
	Nonce     uint64
	From      NodeName
	Sent      int64 // repeated from the request
	Received  int64 // the answerer's clock when the request came
	Answered  int64 // and when the answer left
	Summaries []summary
}

// summary is what one replica has seen of another region.
type summary struct {
	Region string
	// Age is how long ago the region last gave the replica itself evidence, to
	// the millisecond; neverAge if it never did.
	Age time.Duration
	// Sent and Answered count its echoes within the verdict.Rules.Back window.
	Sent, Answered uint16
}

const neverAge = time.Duration(math.MaxUint32) * time.Millisecond

func encodeRequest(q echoRequest) []byte {
	size := min(replyBase+max(q.Room, 0), maxEcho)
	b := make([]byte, 0, size)
	b = append(b, wireVersion, kindRequest)
	b = binary.BigEndian.AppendUint32(b, q.Seq)
	b = binary.BigEndian.AppendUint64(b, q.Nonce)
	b = binary.BigEndian.AppendUint64(b, uint64(q.Sent))
	b = appendText(b, q.From.String())
	return b[:size] // the rest is zero
}

func decodeRequest(b []byte) (echoRequest, error) {
	if len(b) < replyBase || len(b) > maxEcho {
		return echoRequest{}, errUndecodable
	}
	r := reader{rest: b}
	r.header(kindRequest)
	q := echoRequest{
		Seq:   r.uint32(),
		Nonce: r.uint64(),
		Sent:  int64(r.uint64()),
		From:  r.nodeName(),
		Room:  len(b) - replyBase,
	}
	for _, c := range r.rest {
		if c != 0 {
			r.failed = true
		}
	}
	r.rest = nil
	return q, r.done()
}

// encodeReply encodes a reply of at most limit bytes, leaving out summaries that
// do not fit.
func encodeReply(p echoReply, limit int) []byte {
	b := make([]byte, 0, limit)
	b = append(b, wireVersion, kindReply)
	b = binary.BigEndian.AppendUint32(b, p.Seq)
	b = binary.BigEndian.AppendUint64(b, p.Nonce)
	for _, t := range []int64{p.Sent, p.Received, p.Answered} {
		b = binary.BigEndian.AppendUint64(b, uint64(t))
	}
	b = appendText(b, p.From.String())
	at := len(b)
	b = append(b, 0)
	for _, s := range p.Summaries {
		if b[at] == maxSummaries || len(b)+summarySize(s) > limit {
			break
		}
		b = appendSummary(b, s)
		b[at]++
	}
	return b
}

func decodeReply(b []byte) (echoReply, error) {
	if len(b) > maxEcho {
		return echoReply{}, errUndecodable
	}
	r := reader{rest: b}
	r.header(kindReply)
	p := echoReply{
		Seq:      r.uint32(),
		Nonce:    r.uint64(),
		Sent:     int64(r.uint64()),
		Received: int64(r.uint64()),
		Answered: int64(r.uint64()),
		From:     r.nodeName(),
	}
	n := r.count(maxSummaries, minSummary)
	for range n {
		p.Summaries = append(p.Summaries, r.summary())
	}
	return p, r.done()
}

func summarySize(s summary) int { return 1 + len(s.Region) + 4 + 2*2 }

func appendSummary(b []byte, s summary) []byte {
	age := min(max(s.Age, 0), neverAge) / time.Millisecond
	b = appendText(b, s.Region)
	b = binary.BigEndian.AppendUint32(b, uint32(age))
	b = binary.BigEndian.AppendUint16(b, s.Sent)
	return binary.BigEndian.AppendUint16(b, s.Answered)
}

func (r *reader) summary() summary {
	return summary{
		Region:   r.region(),
		Age:      time.Duration(r.uint32()) * time.Millisecond,
		Sent:     r.uint16(),
		Answered: r.uint16(),
	}
}
