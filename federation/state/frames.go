package state

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A snapshot and a backup are streams of frames behind a magic: each frame is a
// length and a CRC-32C (4 bytes each, big-endian) and a JSON value; the last
// one says how many there were, so that a cut is seen.

// formatVersion is the version of the streams this build writes and the newest
// that it reads.
const formatVersion = 1

// The magics, 8 bytes each.
const (
	magicSnapshot = "FEDSNAP\n"
	magicBackup   = "FEDBACK\n"
)

// maxFrame bounds one frame, in bytes.
const maxFrame = 16 << 20

// frame is one record of a stream.
type frame struct {
	Kind  string          `json:"k"`
	Value json.RawMessage `json:"v"`
}

// The kinds of frame that every stream has.
const (
	frameFormat = "format" // first: the format version
	frameEnd    = "end"    // last: the number of frames before it
)

type frameWriter struct {
	w     *bufio.Writer
	count int
	err   error
}

func newFrameWriter(w io.Writer, magic string) *frameWriter {
	f := &frameWriter{w: bufio.NewWriterSize(w, 256<<10)}
	_, f.err = f.w.WriteString(magic)
	f.put(frameFormat, formatVersion)
	return f
}

// put writes one frame; the first error sticks.
func (f *frameWriter) put(kind string, value any) {
	if f.err != nil {
		return
	}
	raw, err := json.Marshal(value)
	if err != nil {
		f.err = fmt.Errorf("encode %s: %w", kind, err)
		return
	}
	payload, err := json.Marshal(frame{Kind: kind, Value: raw})
	if err == nil && len(payload) > maxFrame {
		err = ErrInvalid.withf("a %s of %d bytes exceeds the bound of %d", kind, len(payload), maxFrame)
	}
	if err != nil {
		f.err = err
		return
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))
	head = binary.BigEndian.AppendUint32(head, checksum(payload))
	if _, f.err = f.w.Write(head); f.err == nil {
		_, f.err = f.w.Write(payload)
	}
	f.count++
}

// close writes the last frame and flushes.
func (f *frameWriter) close() error {
	f.put(frameEnd, f.count)
	if f.err != nil {
		return f.err
	}
	return f.w.Flush()
}

type frameReader struct {
	r     *bufio.Reader
	count int
}

// newFrameReader checks the magic and the format version. what names the stream
// in errors.
func newFrameReader(r io.Reader, magic, what string) (*frameReader, error) {
	f := &frameReader{r: bufio.NewReaderSize(r, 256<<10)}
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(f.r, head); err != nil || string(head) != magic {
		return nil, ErrCorrupt.withf("this is no federator %s: expected it to begin with %q, found %q", what, magic, head)
	}
	first, err := f.next()
	if err != nil {
		return nil, err
	}
	var version int
	if first.Kind != frameFormat || strictJSON(first.Value, &version) != nil {
		return nil, ErrCorrupt.withf("%s: expected the format version first, found %q", what, clip(first.Kind, 64))
	}
	if version != formatVersion {
		return nil, ErrFormat.withf("this %s has format %d, this build reads format %d: use the federator version that wrote it, or a newer one", what, version, formatVersion)
	}
	return f, nil
}

// next returns the next frame; io.EOF after a complete stream.
func (f *frameReader) next() (frame, error) {
	var out frame
	payload, err := f.payload()
	if err != nil {
		return out, err
	}
	if err := strictJSON(payload, &out); err != nil {
		return out, ErrCorrupt.withf("frame %d: %v", f.count, err)
	}
	if out.Kind == frameEnd {
		var want int
		if err := strictJSON(out.Value, &want); err != nil || want != f.count {
			return out, ErrCorrupt.withf("the end says %s frames, found %d", clip(string(out.Value), 32), f.count)
		}
		return out, io.EOF
	}
	f.count++
	return out, nil
}

func (f *frameReader) payload() ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return nil, f.cut(err)
	}
	size := binary.BigEndian.Uint32(head[:4])
	if size > maxFrame {
		return nil, ErrCorrupt.withf("frame %d: %d bytes exceed the bound of %d", f.count, size, maxFrame)
	}
	// Grow with what arrives, not with what a hostile length announces.
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, f.r, int64(size)); err != nil {
		return nil, f.cut(err)
	}
	if checksum(buf.Bytes()) != binary.BigEndian.Uint32(head[4:]) {
		return nil, ErrCorrupt.withf("frame %d: the checksum does not match", f.count)
	}
	return buf.Bytes(), nil
}

func (f *frameReader) cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCorrupt.withf("cut off after %d frames", f.count)
	}
	return fmt.Errorf("read frame %d: %w", f.count, err)
}
