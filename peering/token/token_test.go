package token_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/token"
)

var secretText = strings.Repeat("s3cr", 8)

func sample(t testing.TB) token.Token {
	t.Helper()
	random := strings.NewReader("id-bytes" + secretText)
	tok, err := token.New(random, token.Token{
		TrustDomain: "acme.example",
		Pins:        []identity.KeyID{sha256.Sum256([]byte("root"))},
		Region:      "us-west",
		Addresses:   []string{"10.0.0.1:7443", "[fd00::1]:7443", "west.acme.example:7443"},
		Expires:     time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func text(t testing.TB, tok token.Token) string {
	t.Helper()
	s, err := tok.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestATokenSurvivesItsText(t *testing.T) {
	want := sample(t)
	got, err := token.Parse(text(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhiteSpaceOfAWrappedTerminalLineIsIgnored(t *testing.T) {
	s := text(t, sample(t))
	if _, err := token.Parse("\n " + s[:50] + "\r\n" + s[50:] + "\t\n"); err != nil {
		t.Error(err)
	}
}

func TestEveryProperBeginningOfATokenIsCutShort(t *testing.T) {
	s := text(t, sample(t))
	for n := 1; n < len(s); n++ {
		if _, err := token.Parse(s[:n]); !errors.Is(err, token.ErrTruncated) {
			t.Fatalf("first %d of %d characters: expected ErrTruncated, found %v", n, len(s), err)
		}
	}
}

func TestEveryChangedCharacterIsNoticed(t *testing.T) {
	s := text(t, sample(t))
	for i := range len(s) {
		b := []byte(s)
		if b[i]++; b[i] == '{' {
			b[i] = 'a'
		}
		if _, err := token.Parse(string(b)); err == nil {
			t.Fatalf("character %d changed: expected an error", i)
		}
	}
}

func TestEachKindOfBadTextHasItsOwnError(t *testing.T) {
	good := text(t, sample(t))
	tests := []struct {
		name, text string
		want       error
	}{
		{"nothing", "", token.ErrGarbage},
		{"only space", " \n", token.ErrGarbage},
		{"words", "please let me in", token.ErrGarbage},
		{"far too long", strings.Repeat("a", 1<<20), token.ErrGarbage},
		{"binary", "\x00\xff\xfe", token.ErrGarbage},
		{"another version", strings.Replace(good, "fedjoin1_", "fedjoin2_", 1), token.ErrVersion},
		{"a much later version", "fedjoin23_abc", token.ErrVersion},
		{"no version", "fedjoin_abc", token.ErrGarbage},
		{"prefix only", "fedjoin1_", token.ErrTruncated},
		{"half a token", good[:len(good)/2], token.ErrTruncated},
		{"a character too many", good + "A", token.ErrCorrupt},
		{"two tokens", good + good, token.ErrCorrupt},
		{"last character changed", good[:len(good)-1] + "!", token.ErrCorrupt},
		{"header is no base64", "fedjoin1_!!!!abcdef", token.ErrCorrupt},
		{"impossible length", "fedjoin1_____abcdef", token.ErrCorrupt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := token.Parse(tt.text); !errors.Is(err, tt.want) {
				t.Errorf("expected %v, found %v", tt.want, err)
			}
		})
	}
}

// reframe builds a well-formed text around any payload.
func reframe(t *testing.T, body []byte) string {
	t.Helper()
	framed := append([]byte{0, byte(len(body) >> 8), byte(len(body))}, body...)
	sum := sha256.Sum256(append([]byte(token.Prefix), framed...))
	return token.Prefix + base64.RawURLEncoding.EncodeToString(append(framed, sum[:6]...))
}

func TestAWholeTokenWithUnusableContentIsRefused(t *testing.T) {
	good := map[string]any{
		"id": "0011223344556677", "secret": make([]byte, 32), "td": "acme.example", "pins": [][]byte{make([]byte, 32)},
		"region": "us-west", "addrs": []string{"10.0.0.1:7443"}, "exp": 1,
	}
	good["secret"].([]byte)[0] = 1
	tests := map[string]struct {
		field string
		value any
		says  string
	}{
		"no pin":               {"pins", nil, "none; without one"},
		"a short pin":          {"pins", [][]byte{{1}}, "expected pins of 32 bytes"},
		"too many pins":        {"pins", make([][]byte, 9), "wrong size"},
		"no secret":            {"secret", nil, "wrong size"},
		"a zero secret":        {"secret", make([]byte, 32), "secret: missing"},
		"no address":           {"addrs", nil, "expected 1 to 16"},
		"an address sans port": {"addrs", []string{"10.0.0.1"}, "expected HOST:PORT"},
		"port zero":            {"addrs", []string{"h:0"}, "port of 1 to 65535"},
		"a bad region":         {"region", "US West", "DNS label"},
		"no trust domain":      {"td", "", "trust domain"},
		"a bad id":             {"id", "../../etc", "hex digits"},
		"an unknown field":     {"admin", true, "not of this version"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := map[string]any{}
			for k, v := range good {
				p[k] = v
			}
			p[tt.field] = tt.value
			body, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			_, err = token.Parse(reframe(t, body))
			if !errors.Is(err, token.ErrContent) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("expected ErrContent that says %q, found %v", tt.says, err)
			}
		})
	}
}

func TestATokenWithoutAPinCannotBeMade(t *testing.T) {
	tok := sample(t)
	tok.Pins = nil
	if _, err := tok.Encode(); err == nil || !strings.Contains(err.Error(), "pins") {
		t.Errorf("expected an error about pins, found %v", err)
	}
}

func TestNoWayOfPrintingShowsTheSecret(t *testing.T) {
	tok := sample(t)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", tok, "secret", tok.Secret)
	asJSON, err := json.Marshal(tok)
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{
		fmt.Sprint(tok), fmt.Sprintf("%v %+v %#v %s", tok, tok, tok, tok), fmt.Sprintf("%v %x %d %s", tok.Secret, tok.Secret, tok.Secret, tok.Secret),
		fmt.Sprintf("%+v", struct{ T *token.Token }{&tok}), fmt.Sprintf("%#v", struct{ S token.Secret }{tok.Secret}),
		log.String(), string(asJSON),
	}
	hexed, numbers := fmt.Sprintf("%x", secretText), fmt.Sprint([]byte(secretText)[:4])
	for _, s := range printed {
		for _, bad := range []string{secretText, hexed, strings.Trim(numbers, "[]"), base64.StdEncoding.EncodeToString([]byte(secretText))[:20]} {
			if strings.Contains(s, bad) {
				t.Errorf("the secret shows in %q", s)
			}
		}
	}
}

func TestASecretMatchesOnlyItsHash(t *testing.T) {
	a := sample(t).Secret
	b := a
	b[31] ^= 1
	h := a.Hash()
	if !a.Matches(h[:]) || b.Matches(h[:]) || a.Matches(nil) || a.Matches(h[:31]) {
		t.Error("expected exactly the secret itself to match")
	}
}

func TestATokenLoadsFromArgumentFileAndStandardInput(t *testing.T) {
	want := sample(t)
	s := text(t, want)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(s+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arg := range []string{s, file, "-"} {
		got, err := token.Load(arg, strings.NewReader(s+"\n"))
		if err != nil || got.ID != want.ID {
			t.Errorf("load %.12q: %v", arg, err)
		}
	}
}

func TestLoadErrorsNeverRepeatTheArgument(t *testing.T) {
	arg := "fedjion1_" + secretText
	_, err := token.Load(arg, nil)
	if !errors.Is(err, token.ErrGarbage) || strings.Contains(err.Error(), secretText) {
		t.Errorf("expected ErrGarbage without the argument, found %v", err)
	}
	if _, err := token.Load("fedj", nil); !errors.Is(err, token.ErrTruncated) {
		t.Errorf("expected ErrTruncated, found %v", err)
	}
	if _, err := token.Load("-", strings.NewReader(strings.Repeat("x", 1<<20))); !errors.Is(err, token.ErrGarbage) {
		t.Errorf("expected ErrGarbage, found %v", err)
	}
}

func FuzzParse(f *testing.F) {
	tok := sample(f)
	f.Add(text(f, tok))
	f.Add("fedjoin1_AAAA")
	f.Add("fedjoin1_AA\nAA")
	f.Add("fedjoin2_x")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := token.Parse(s)
		if err != nil {
			return
		}
		again, err := token.Parse(text(t, got))
		if err != nil || !cmp.Equal(got, again) {
			t.Errorf("a parsed token does not survive its own text: %v", err)
		}
	})
}
