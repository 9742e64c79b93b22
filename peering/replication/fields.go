package replication

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
	"unique"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/federator/federator/federation/catalog"
)

// fields reads the fields of one message and keeps the first violation, so that
// a conversion reads as the list of its fields.
type fields struct{ err error }

// fail records a violation of a field, unless there is one already.
func (f *fields) fail(field string, err error) {
	if f.err == nil && err != nil {
		f.err = &FieldError{Field: field, Err: err}
	}
}

func (f *fields) failf(field, format string, args ...any) {
	f.fail(field, fmt.Errorf(format, args...))
}

// FieldError is a violation of the rules for one field of a message from outside.
type FieldError struct {
	// Field is the path of the field, for example "set.endpoints[3].weight".
	Field string
	Err   error
}

// Error returns "field: what was expected and found".
func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the violation without the path.
func (e *FieldError) Unwrap() error { return e.Err }

// within prefixes the path of a field error with the field that contains it.
func within(field string, err error) error {
	var fe *FieldError
	if errors.As(err, &fe) {
		return &FieldError{Field: field + "." + fe.Field, Err: fe.Err}
	}
	return &FieldError{Field: field, Err: err}
}

// nested takes over the violation of a message in a field.
func (f *fields) nested(field string, g fields) {
	if f.err == nil && g.err != nil {
		f.err = within(field, g.err)
	}
}

func (f *fields) item(field string, i int, g fields) {
	if g.err != nil {
		f.nested(field+"["+strconv.Itoa(i)+"]", g)
	}
}

func (f *fields) label(field, s string) string {
	f.fail(field, catalog.ValidateLabel("value", s))
	return s
}

func (f *fields) optionalLabel(field, s string) string {
	if s != "" {
		f.label(field, s)
	}
	return s
}

func (f *fields) cluster(field, s string) string {
	f.fail(field, catalog.ValidateCluster(s))
	return shared(s)
}

func (f *fields) zone(s string) string { return shared(f.optionalLabel("zone", s)) }

// shared makes equal strings one: a million endpoints are in a handful of zones.
func shared(s string) string { return unique.Make(s).Value() }

// text accepts printable UTF-8 of up to limit bytes; it ends up on terminals.
func (f *fields) text(field, s string, limit int) string {
	switch {
	case len(s) > limit:
		f.failf(field, "%d bytes, expected at most %d", len(s), limit)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unprintable):
		f.failf(field, "%q: expected printable UTF-8", s)
	}
	return s
}

func (f *fields) required(field, s string, limit int) string {
	if s == "" {
		f.failf(field, "missing")
	}
	return f.text(field, s, limit)
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// printable makes any text fit what [fields.text] accepts.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}

// blob accepts up to limit bytes; nil and empty are the same.
func (f *fields) blob(field string, b []byte, limit int) []byte {
	if len(b) > limit {
		f.failf(field, "%d bytes, expected at most %d", len(b), limit)
	}
	if len(b) == 0 {
		return nil
	}
	return b
}

func (f *fields) hash(field, s string) string {
	if b, err := hex.DecodeString(s); s != "" && (err != nil || len(b) != 32 || strings.ToLower(s) != s) {
		f.failf(field, "%q: expected 64 lower-case hex digits", printable(s, maxName))
	}
	return s
}

// count reports whether there may be n of something.
func (f *fields) count(field string, n, limit int) bool {
	if n > limit {
		f.failf(field, "%d entries, expected at most %d", n, limit)
	}
	return n <= limit
}

func (f *fields) between(field string, n, low, high uint32) uint32 {
	if n < low || n > high {
		f.failf(field, "%d: expected %d to %d", n, low, high)
	}
	return n
}

func (f *fields) port(field string, n uint32) uint16 {
	return uint16(f.between(field, n, 1, 65535))
}

// hostPort accepts HOST:PORT with an address or a DNS name as host.
func (f *fields) hostPort(field, s string) string {
	host, port, err := net.SplitHostPort(f.text(field, s, maxName+8))
	if err != nil {
		f.failf(field, "%q: expected HOST:PORT", printable(s, maxName))
		return s
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		f.failf(field, "%q: expected a host and a port from 1 to 65535", printable(s, maxName))
	}
	return s
}

func (f *fields) optionalHostPort(field, s string) string {
	if s != "" {
		f.hostPort(field, s)
	}
	return s
}

// address accepts one address that an endpoint can have.
func (f *fields) address(field string, b []byte) netip.Addr {
	a, ok := netip.AddrFromSlice(b)
	switch {
	case !ok:
		f.failf(field, "%d bytes, expected the 4 of an IPv4 or the 16 of an IPv6 address", len(b))
	case a.Is4In6():
		f.failf(field, "%s: expected an IPv4 address in its 4-byte form", a)
	case a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		f.failf(field, "%s: expected a unicast address", a)
	}
	return a
}

func (f *fields) prefix(addr []byte, length uint32) netip.Prefix {
	a, ok := netip.AddrFromSlice(addr)
	if !ok || a.Is4In6() {
		f.failf("address", "%d bytes, expected an IPv4 or IPv6 network", len(addr))
		return netip.Prefix{}
	}
	if length > uint32(a.BitLen()) {
		f.failf("length", "%d: expected 0 to %d", length, a.BitLen())
		return netip.Prefix{}
	}
	p := netip.PrefixFrom(a, int(length))
	if p != p.Masked() {
		f.failf("address", "%s: expected no bits beyond the prefix length", p)
	}
	return p
}

// time reads a moment; unset is the zero time.
func (f *fields) time(field string, t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	if err := t.CheckValid(); err != nil {
		f.failf(field, "expected a time in the years 1 to 9999")
		return time.Time{}
	}
	return t.AsTime()
}

func timeToPB(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func (f *fields) duration(field string, d *durationpb.Duration, low, high time.Duration) time.Duration {
	if d.CheckValid() != nil || d.AsDuration() < low || d.AsDuration() > high {
		f.failf(field, "expected %s to %s", low, high)
		return 0
	}
	return d.AsDuration()
}
