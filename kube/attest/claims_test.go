package attest

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

// forged is a token with these claims and no signature to speak of.
func forged(claims string) string {
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2lnbmF0dXJl"
}

const whole = `{"aud":["federator.acme.example"],"exp":1893553445,"sub":"system:serviceaccount:shop:web","kubernetes.io":{"namespace":"shop","pod":{"name":"web-0","uid":"u1"},"serviceaccount":{"name":"web","uid":"u2"}}}`

var before = time.Unix(1893553445, 0).Add(-time.Minute)

func TestATokenTellsItsBearerWhetherToSendIt(t *testing.T) {
	c, err := Read(forged(whole))
	if err != nil || c.Namespace != "shop" || c.ServiceAccount != "web" || c.Pod != "web-0" || c.PodUID != "u1" {
		t.Fatalf("found %+v, %v", c, err)
	}
	if err := c.Check(audience, before); err != nil {
		t.Error(err)
	}
	single := strings.Replace(whole, `["federator.acme.example"]`, `"federator.acme.example"`, 1)
	if c, err := Read(forged(single)); err != nil || c.Check(audience, before) != nil {
		t.Errorf("one audience without a list: %+v, %v", c, err)
	}
	for name, tt := range map[string]struct {
		from, to string
		now      time.Time
		says     string
	}{
		"for the API server": {`["federator.acme.example"]`, `["https://kubernetes.default.svc"]`, before, "audience: federator.acme.example"},
		"for others too":     {`["federator.acme.example"]`, `["federator.acme.example","vault"]`, before, "no other"},
		"for nobody":         {`"aud"`, `"x"`, before, "no other"},
		"a person's":         {"system:serviceaccount:shop:web", "jo", before, "service account"},
		"bound to no pod":    {`"pod"`, `"node"`, before, "bound to no pod"},
		"expired":            {"", "", before.Add(time.Hour), "it expired at 2030-01-02T03:04:05Z"},
		"without an end":     {`"exp"`, `"x"`, before, "it expired"},
	} {
		c, err := Read(forged(strings.Replace(whole, tt.from, tt.to, 1)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.Check(audience, tt.now); err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "not sent") {
			t.Errorf("%s: expected to be told %q, found %v", name, tt.says, err)
		}
	}
	if err := (Claims{}).Check(audience, before); strings.Count(err.Error(), "\n") < 3 {
		t.Errorf("expected everything that is wrong, found %v", err)
	}
}

func TestWhatIsNoTokenIsNotQuoted(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "a word": "hunter2-hunter2", "two parts": "hunter2.hunter2", "four parts": "hunter2.a.b.c",
		"not base64": "a.hunter2!.c", "not JSON": "a." + base64.RawURLEncoding.EncodeToString([]byte("hunter2")) + ".c",
		"a wrong type": forged(`{"exp":"hunter2"}`), "an end of no time": forged(`{"exp":1e300}`), "no signature": strings.TrimSuffix(forged(whole), "c2lnbmF0dXJl"),
		"too long": strings.Repeat("hunter2", MaxToken),
	} {
		_, err := Read(text)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(forged(whole))
	f.Add(forged(`{"aud":null,"exp":-1}`))
	f.Add("a.b.c")
	f.Add("...")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := Read(token)
		if err != nil {
			return
		}
		if len(token) > MaxToken || c.Expires.Year() > 9999 {
			t.Fatalf("accepted %d bytes, %s", len(token), c.Expires)
		}
		_ = c.Check(audience, before)
	})
}
