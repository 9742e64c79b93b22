package identity

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEqualListsAreSignedAsEqualBytes(t *testing.T) {
	w := newWorld(t, start)
	l := w.list
	l.Revoked = []Revocation{{Region: "b", At: start}, {Region: "a", At: start}}
	turned := l
	turned.Revoked = slices.Clone(l.Revoked)
	slices.Reverse(turned.Revoked)
	turned.Intermediates = slices.Clone(l.Intermediates)
	slices.Reverse(turned.Intermediates)
	turned.IssuedAt = l.IssuedAt.In(time.FixedZone("elsewhere", 3600))
	a := must(openList(must(w.root.SignList(l))(t)))(t)
	b := must(openList(must(w.root.SignList(turned))(t)))(t)
	if !bytes.Equal(a.payload, b.payload) {
		t.Fatalf("%s\n%s", a.payload, b.payload)
	}
	if l.Revoked[0].Region != "b" {
		t.Fatal("signing reordered the caller's list")
	}
}

func TestABadListIsNotSigned(t *testing.T) {
	w := newWorld(t, start)
	other := newWorld(t, start)
	foreign := must(NewRoot("b.example", start))(t)
	cases := map[string]struct {
		change func(*List)
		want   string
	}{
		"another domain":       {func(l *List) { l.TrustDomain = "b.example" }, "cannot be signed"},
		"no sequence":          {func(l *List) { l.Sequence = 0 }, "sequence 0"},
		"no roots":             {func(l *List) { l.Roots = nil }, "0 roots"},
		"too many roots":       {func(l *List) { l.Roots = slices.Repeat(l.Roots, 9) }, "9 roots"},
		"a root twice":         {func(l *List) { l.Roots = slices.Repeat(l.Roots, 2) }, "listed twice"},
		"an intermediate root": {func(l *List) { l.Roots = append(l.Roots, w.west.Certificate.Raw) }, "not self-signed"},
		"a foreign root":       {func(l *List) { l.Roots = append(l.Roots, foreign.Certificate.Raw) }, "found \"b.example\""},
		"without the signer":   {func(l *List) { l.Roots = [][]byte{other.root.Certificate.Raw} }, "the signing root is not in it"},
		"a bad region":         {func(l *List) { l.Intermediates[0].Region = "A" }, "expected a region"},
		"no key":               {func(l *List) { l.Intermediates[0].KeyID = KeyID{} }, "a key of its own"},
		"a key twice":          {func(l *List) { l.Intermediates[0].KeyID = l.Intermediates[1].KeyID }, "a key of its own"},
		"an empty revocation":  {func(l *List) { l.Revoked = []Revocation{{Reason: "x"}} }, "names nothing"},
		"an epoch alone":       {func(l *List) { l.Revoked = []Revocation{{Serial: "1", Epoch: 1}} }, "region's name with its epoch"},
		"a bad ID":             {func(l *List) { l.Revoked = []Revocation{{ID: "x"}} }, "SPIFFE ID"},
		"a bad serial":         {func(l *List) { l.Revoked = []Revocation{{Serial: "0xA"}} }, "lower-case hex"},
		"a long reason":        {func(l *List) { l.Revoked = []Revocation{{Serial: "1", Reason: strings.Repeat("x", 600)}} }, "too long"},
		"too many revocations": {func(l *List) { l.Revoked = make([]Revocation, maxRevoked+1) }, "expected at most"},
		"too many bytes in all": {func(l *List) {
			l.Revoked = slices.Repeat([]Revocation{{Serial: "1", Reason: strings.Repeat("x", 500)}}, maxRevoked)
		}, "drop revocations"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := w.list
			l.Intermediates = slices.Clone(l.Intermediates)
			c.change(&l)
			if _, err := w.root.SignList(l); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("expected %q, found %v", c.want, err)
			}
		})
	}
}

func TestAnAlteredListIsRefused(t *testing.T) {
	w := newWorld(t, start)
	other := newWorld(t, start)
	cases := map[string]struct {
		change func(*envelope)
		want   string
	}{
		"another sequence":  {func(e *envelope) { e.List = bytes.Replace(e.List, []byte(`"sequence":1`), []byte(`"sequence":2`), 1) }, "altered or damaged"},
		"another signature": {func(e *envelope) { e.Signature[10] ^= 1 }, "altered or damaged"},
		"another signer":    {func(e *envelope) { e.Signer = other.root.KeyID() }, "does not contain"},
		"a later format":    {func(e *envelope) { e.Format = 2 }, "upgrade it"},
		"an unknown field":  {func(e *envelope) { e.List = []byte(`{"new":1}`) }, "unknown field"},
		"bytes after it":    {func(e *envelope) { e.List = append(e.List, '1') }, "after the end"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var e envelope
			check(t, json.Unmarshal(w.trust.Signed(), &e))
			c.change(&e)
			_, err := w.trust.Update(must(json.Marshal(e))(t))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("expected %q, found %v", c.want, err)
			}
		})
	}
	if _, err := ReadList(make([]byte, maxList+1)); err == nil {
		t.Fatal("an endless list was read")
	}
	_, err := NewVerifier("b.example", w.root.Certificate).Update(w.trust.Signed())
	if err == nil || !strings.Contains(err.Error(), "expected b.example") {
		t.Fatal(err)
	}
}
