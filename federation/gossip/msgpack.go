package gossip

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// messageReader reads the part of MessagePack that memberlist writes: maps from
// names to numbers, texts and flags, none within another. It keeps what it read.
type messageReader struct {
	from *bufio.Reader
	read bytes.Buffer
}

// kind is what a value is.
type kind byte

const (
	aNumber kind = iota // not negative
	aText               // or bytes
	aFlag
	nothing
)

// field is what is expected of a value: its kind, and the highest number or
// length.
type field struct {
	kind kind
	max  uint64
}

const (
	// maxText bounds a text that is not bounded otherwise: memberlist's own bound of
	// a node's meta.
	maxText   = 512
	maxFields = 32
	maxKey    = 64
)

// The first bytes of what is read, from the MessagePack specification.
const (
	packFixMap, packFixMapEnd   = 0x80, 0x8f
	packFixText, packFixTextEnd = 0xa0, 0xbf
	packNumberEnd               = 0x7f
	packNil                     = 0xc0
	packFalse, packTrue         = 0xc2, 0xc3
	packBytes8, packBytes32     = 0xc4, 0xc6
	packUint8, packUint64       = 0xcc, 0xcf
	packInt8, packInt64         = 0xd0, 0xd3
	packText8, packText32       = 0xd9, 0xdb
	packMap16, packMap32        = 0xde, 0xdf
)

// take reads n bytes, which must not be kept.
func (m *messageReader) take(n uint64) ([]byte, error) {
	if n > uint64(maxStreamBytes-m.read.Len()) {
		return nil, harmful("more than %d bytes", maxStreamBytes)
	}
	before := m.read.Len()
	if _, err := io.CopyN(&m.read, m.from, int64(n)); err != nil {
		return nil, unexpected(err)
	}
	return m.read.Bytes()[before:], nil
}

func (m *messageReader) byte() (byte, error) {
	b, err := m.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// unexpected is the error of a message that ends early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// uint reads a number of 1, 2, 4 or 8 bytes.
func (m *messageReader) uint(size uint64) (uint64, error) {
	b, err := m.take(size)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[8-len(b):], b)
	return binary.BigEndian.Uint64(wide[:]), nil
}

// record reads a map and returns the numbers, the lengths of the texts and the
// flags of the fields that are expected. Others are passed over: a newer
// memberlist may write more.
func (m *messageReader) record(expected map[string]field) (map[string]uint64, error) {
	n, err := m.mapLength()
	if err != nil {
		return nil, err
	}
	if n > maxFields {
		return nil, harmful("%d fields", n)
	}
	found, seen := map[string]uint64{}, map[string]bool{}
	for range n {
		name, err := m.key()
		if err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, harmful("field %q twice", name)
		}
		seen[name] = true
		want, known := expected[name]
		if found[name], err = m.value(want, known); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (m *messageReader) mapLength() (uint64, error) {
	head, err := m.byte()
	switch {
	case err != nil:
		return 0, err
	case head >= packFixMap && head <= packFixMapEnd:
		return uint64(head - packFixMap), nil
	case head >= packMap16 && head <= packMap32:
		return m.uint(2 << (head - packMap16))
	}
	return 0, harmful("expected a map, found 0x%02x", head)
}

func (m *messageReader) key() (string, error) {
	is, n, err := m.head()
	if err != nil {
		return "", err
	}
	if is != aText || n > maxKey {
		return "", harmful("expected the name of a field")
	}
	name, err := m.take(n)
	return string(name), err
}

// value reads a value, which must be as it is wanted if it is known. Nil stands for
// the zero value.
func (m *messageReader) value(want field, known bool) (uint64, error) {
	is, n, err := m.head()
	if err != nil {
		return 0, err
	}
	limit := want.max
	if !known {
		limit = maxText
	}
	switch {
	case known && is != nothing && is != want.kind:
		return 0, harmful("a value of the wrong kind")
	case (known || is == aText) && n > limit:
		return 0, harmful("expected at most %d, found %d", limit, n)
	case is == aText:
		_, err = m.take(n)
	}
	return n, err
}

// head reads a number or a flag, or the length of a text.
func (m *messageReader) head() (kind, uint64, error) {
	head, err := m.byte()
	if err != nil {
		return 0, 0, err
	}
	var n uint64
	switch {
	case head <= packNumberEnd:
		return aNumber, uint64(head), nil
	case head >= packFixText && head <= packFixTextEnd:
		return aText, uint64(head - packFixText), nil
	case head == packNil:
		return nothing, 0, nil
	case head == packFalse || head == packTrue:
		return aFlag, uint64(head - packFalse), nil
	case head >= packUint8 && head <= packUint64:
		n, err = m.uint(1 << (head - packUint8))
		return aNumber, n, err
	case head >= packInt8 && head <= packInt64:
		return m.signed(1 << (head - packInt8))
	case head >= packBytes8 && head <= packBytes32:
		n, err = m.uint(1 << (head - packBytes8))
		return aText, n, err
	case head >= packText8 && head <= packText32:
		n, err = m.uint(1 << (head - packText8))
		return aText, n, err
	}
	return 0, 0, harmful("expected a number, a text or a flag, found 0x%02x", head)
}

// signed reads a number that is written with a sign and has none.
func (m *messageReader) signed(size uint64) (kind, uint64, error) {
	n, err := m.uint(size)
	if err == nil && n>>(8*size-1) != 0 {
		err = harmful("a number below zero")
	}
	return aNumber, n, err
}
