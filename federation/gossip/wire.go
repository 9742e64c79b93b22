package gossip

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/federator/federator/federation/catalog"
)

// maxString bounds every string on the wire, in bytes.
const maxString = 255

// reader takes values off the front of a message. After the first failure it
// yields zero values, and done reports the failure.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.failed || n <= 0 {
		r.failed = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count reads a number of elements, each of at least size bytes, so that no
// count can claim more than the message holds.
func (r *reader) count(limit, size int) int {
	n := r.uvarint()
	if n > uint64(limit) || n*uint64(size) > uint64(len(r.rest)) {
		r.failed = true
		return 0
	}
	return int(n)
}

// text reads a string of printable UTF-8.
func (r *reader) text() string {
	s := string(r.take(int(r.byte())))
	if !plainText(s) {
		r.failed = true
	}
	return s
}

func (r *reader) healthVersion() catalog.HealthVersion {
	return catalog.HealthVersion{Epoch: r.uvarint(), Term: r.uvarint(), Seq: r.uvarint()}
}

// check fails the message unless err is nil.
func (r *reader) check(err error) {
	if err != nil {
		r.failed = true
	}
}

// done reports whether the message was whole and had nothing after it.
func (r *reader) done() error {
	if r.failed || len(r.rest) != 0 {
		return errUndecodable
	}
	return nil
}

// header reads the version and kind bytes that begin every message.
func (r *reader) header(kind byte) {
	if r.byte() != wireVersion || r.byte() != kind {
		r.failed = true
	}
}

func plainText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

func appendText(b []byte, s string) []byte {
	return append(append(b, byte(len(s))), s...)
}

func appendHealthVersion(b []byte, v catalog.HealthVersion) []byte {
	b = binary.AppendUvarint(b, v.Epoch)
	b = binary.AppendUvarint(b, v.Term)
	return binary.AppendUvarint(b, v.Seq)
}

func (r *reader) region() string {
	s := r.text()
	r.check(catalog.ValidateLabel("region", s))
	return s
}
