package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const somePin = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestWhomToTrustIsPrintedAsAConfigMap(t *testing.T) {
	socket := serve(t, &fakeAgent{})
	out, errOut, code := cli(t, "", "svid", "trust", "--socket", socket)
	if code != 0 {
		t.Fatal(errOut)
	}
	golden(t, "svid-trust", out)
	out, _, _ = cli(t, "", "svid", "trust", "--namespace", "shop", "--socket", socket)
	if !strings.Contains(out, "  namespace: \"shop\"\n") {
		t.Errorf("found %s", out)
	}
}

func TestAPodThatDoesNotKnowWhomToTrustSendsNothing(t *testing.T) {
	for name, args := range map[string]string{
		"nothing":        "",
		"no pin":         "--trust-domain acme.example --region us-west --cluster west-1",
		"half a pin":     "--trust-domain acme.example --region us-west --cluster west-1 --pin aaaa",
		"no domain":      "--region us-west --cluster west-1 --pin " + somePin,
		"no region":      "--trust-domain acme.example --cluster west-1 --pin " + somePin,
		"no cluster":     "--trust-domain acme.example --region us-west --pin " + somePin,
		"a domain's URL": "--trust-domain spiffe://acme.example --region us-west --cluster west-1 --pin " + somePin,
	} {
		dir := filepath.Join(t.TempDir(), "out")
		_, errOut, code := cli(t, "", append([]string{"svid", "fetch", "--out", dir}, strings.Fields(args)...)...)
		if code != exitUsage || !strings.Contains(errOut, "federator svid trust") {
			t.Errorf("%s: %d, %s", name, code, errOut)
		}
	}
	if _, errOut, code := cli(t, "", "svid", "fetch"); code != exitUsage || !strings.Contains(errOut, "--out is missing") {
		t.Errorf("%d, %s", code, errOut)
	}
}

func TestATokenThatIsNotForFederatorIsNotSent(t *testing.T) {
	claims := `{"aud":[%q],"exp":%d,"sub":"system:serviceaccount:shop:web","kubernetes.io":{"namespace":"shop","pod":{"name":"web-0","uid":"u"}}}`
	made := func(audience string, expires time.Time) string {
		return "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, claims, audience, expires.Unix())) + ".c2ln"
	}
	hour := time.Now().Add(time.Hour)
	for name, tt := range map[string]struct{ token, says string }{
		"for the API server": {made("https://kubernetes.default.svc", hour), "not sent to anybody"},
		"expired":            {made("federator.acme.example", time.Now().Add(-time.Hour)), "it expired"},
		"nothing":            {"", "three parts"},
		"good":               {made("federator.acme.example", hour), "connection refused"},
	} {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(tt.token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, errOut, code := cli(t, "", "svid", "fetch", "--out", t.TempDir(), "--token-file", file, "--agent", "127.0.0.1:1",
			"--trust-domain", "acme.example", "--region", "us-west", "--cluster", "west-1", "--pin", somePin)
		if code != exitFailed || !strings.Contains(errOut, tt.says) || len(tt.token) > 8 && strings.Contains(errOut, strings.Split(tt.token, ".")[1]) {
			t.Errorf("%s: expected to be told %q, found %d, %s", name, tt.says, code, errOut)
		}
	}
	_, errOut, code := cli(t, "", "svid", "fetch", "--out", t.TempDir(), "--token-file", "/nowhere", "--agent", "127.0.0.1:1",
		"--trust-domain", "acme.example", "--region", "us-west", "--cluster", "west-1", "--pin", somePin)
	if code != exitFailed || !strings.Contains(errOut, "serviceAccountToken of audience federator.acme.example") {
		t.Errorf("no token: %d, %s", code, errOut)
	}
}
