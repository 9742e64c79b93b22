package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// Protocol is the newest version of the state machine that this build
// understands, MinProtocol the oldest.
const (
	Protocol    = 4
	MinProtocol = 1
)

// MaxCommandBytes bounds one encoded command.
const MaxCommandBytes = 4 << 20

// The bounds of the short strings of an envelope.
const (
	maxIDBytes    = 128
	maxActorBytes = 512
)

// Type names a command.
type Type string

// Command is one change of the region's state. The commands are the exported
// structs of this package, passed by value or by pointer.
type Command interface {
	kind() Type
	validate() error
	apply(*change) (any, error)
	// audit returns what the audit log says of the command; an empty target
	// means that it is not audited.
	audit() (target, detail string)
}

// Meta is what every command carries beside its body.
type Meta struct {
	// ID makes retries safe: the result of an id seen lately is returned again.
	ID string `json:"id"`
	// Time is the command's time, stamped by the leader.
	Time time.Time `json:"time"`
	// Actor made the change (a SPIFFE id, or "unix:USER"); From is its address.
	Actor string `json:"actor,omitempty"`
	From  string `json:"from,omitempty"`
}

// Envelope is a command as it is forwarded and logged.
type Envelope struct {
	Type    Type `json:"type"`
	Version int  `json:"version"`
	Meta
	Body json.RawMessage `json:"body"`
}

// NewEnvelope validates cmd and wraps it.
func NewEnvelope(meta Meta, cmd Command) (Envelope, error) {
	if err := cmd.validate(); err != nil {
		return Envelope{}, err
	}
	if err := publishable(cmd); err != nil {
		return Envelope{}, err
	}
	body, err := json.Marshal(cmd)
	if err != nil {
		return Envelope{}, fmt.Errorf("encode %s: %w", cmd.kind(), err)
	}
	env := Envelope{Type: cmd.kind(), Version: versionOf(cmd), Meta: meta, Body: body}
	return env, env.check()
}

func (e *Envelope) check() error {
	switch {
	case e.Version < 1:
		return ErrInvalid.withf("command %q: expected a version of 1 or more, found %d", e.Type, e.Version)
	case e.ID == "" || len(e.ID) > maxIDBytes:
		return ErrInvalid.withf("command %q: expected an id of 1 to %d bytes, found %d", e.Type, maxIDBytes, len(e.ID))
	case len(e.Actor) > maxActorBytes || len(e.From) > maxActorBytes:
		return ErrInvalid.withf("command %q: actor and origin are bounded to %d bytes", e.Type, maxActorBytes)
	case len(e.Body) > MaxCommandBytes:
		return ErrInvalid.withf("command %q: %d bytes exceed the bound of %d; send fewer changes at once", e.Type, len(e.Body), MaxCommandBytes)
	}
	return nil
}

// Encode writes the envelope as JSON behind a CRC-32C (4 bytes, big-endian), so
// that a flipped bit in the log is found.
func (e Envelope) Encode() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	e.Time = e.Time.UTC().Round(0)
	payload, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode command %s: %w", e.Type, err)
	}
	if len(payload) > MaxCommandBytes {
		return nil, ErrInvalid.withf("command %q: %d bytes exceed the bound of %d; send fewer changes at once", e.Type, len(payload), MaxCommandBytes)
	}
	out := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(payload)), checksum(payload))
	return append(out, payload...), nil
}

// DecodeEnvelope reads what [Envelope.Encode] wrote. It is strict: unknown
// fields and trailing bytes are errors. The body is not looked at.
func DecodeEnvelope(b []byte) (Envelope, error) {
	var env Envelope
	switch {
	case len(b) < 4:
		return env, ErrCorrupt.withf("command of %d bytes: expected at least 4", len(b))
	case len(b) > 4+MaxCommandBytes:
		return env, ErrInvalid.withf("command of %d bytes exceeds the bound of %d", len(b), MaxCommandBytes)
	case checksum(b[4:]) != binary.BigEndian.Uint32(b):
		return env, ErrCorrupt.withf("command of %d bytes: the checksum does not match", len(b))
	}
	if err := strictJSON(b[4:], &env); err != nil {
		return Envelope{}, ErrInvalid.withf("command: %v", err)
	}
	return env, env.check()
}

// Command decodes and validates the body. An unknown type or a version above
// [Protocol] gives [ErrProtocol].
func (e *Envelope) Command() (Command, error) {
	cmd, err := e.decode(Protocol)
	if err != nil {
		return nil, err
	}
	if need := versionOf(cmd); need > e.Version {
		return nil, ErrInvalid.withf("command %q says protocol %d, and has a field that came with protocol %d", e.Type, e.Version, need)
	}
	return cmd, cmd.validate()
}

func (e *Envelope) decode(protocol int) (Command, error) {
	if e.Version > protocol {
		return nil, ErrProtocol.withf("command %q needs protocol %d, this build understands %d: upgrade this replica", e.Type, e.Version, protocol)
	}
	cmd := newCommand(e.Type)
	if cmd == nil {
		return nil, ErrProtocol.withf("command %q (protocol %d) is unknown to this build: upgrade this replica", e.Type, e.Version)
	}
	if err := strictJSON(e.Body, cmd); err != nil {
		return nil, ErrInvalid.withf("command %q: %v", e.Type, err)
	}
	return cmd, nil
}

// Result is the outcome of a command.
type Result struct {
	// Index is the log position; wait for it to read your own write elsewhere.
	Index uint64 `json:"index"`
	// Version is the region's export version after the command.
	Version catalog.Version `json:"version"`
	// Value is the command's own result as JSON, if it has one; see [Value].
	Value json.RawMessage `json:"value,omitempty"`
	// Code and Message are set when the command was refused; see [Result.Err].
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// Err returns the refusal, or nil.
func (r Result) Err() error { return FromCode(r.Code, r.Message) }

// Value decodes a command's own result.
func Value[T any](r Result) (T, error) {
	var v T
	if err := r.Err(); err != nil {
		return v, err
	}
	if err := json.Unmarshal(r.Value, &v); err != nil {
		return v, fmt.Errorf("decode the command's result: %w", err)
	}
	return v, nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func strictJSON(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("unexpected bytes after the value")
	}
	return nil
}
