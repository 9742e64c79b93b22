package identity

import (
	"errors"
	"strings"
	"testing"
)

func TestIDsAreReadBackAsWritten(t *testing.T) {
	for text, want := range map[string]ID{
		"spiffe://acme.example/federator/us-west/a1": ReplicaID(td, "us-west", "a1"),
		"spiffe://acme.example/operator/jo.doe":      OperatorID(td, "jo.doe"),
		"spiffe://acme.example/ns/shop/sa/web.front": WorkloadID(td, "shop", "web.front"),
		"spiffe://acme.example":                      AuthorityID(td),
	} {
		got := must(ParseIDString(text))(t)
		if got != want || got.String() != text || got.URL().String() != text {
			t.Errorf("%s: found %+v", text, got)
		}
	}
}

func TestIDsOfAnyOtherFormAreRefused(t *testing.T) {
	for _, s := range []string{
		"", "acme.example", "http://acme.example/operator/jo", "spiffe:///operator/jo", "spiffe://ACME/operator/jo",
		"spiffe://acme.example/", "spiffe://acme.example/operator", "spiffe://acme.example/operator/", "spiffe://acme.example/operator/a/b",
		"spiffe://acme.example/federator/us-west", "spiffe://acme.example/federator/US/a", "spiffe://acme.example/federator/us-west/a.b",
		"spiffe://acme.example/federator/us-west/..", "spiffe://acme.example/federator/us-west/a?x", "spiffe://acme.example/operator/jo#x",
		"spiffe://acme.example:80/operator/jo", "spiffe://u@acme.example/operator/jo", "spiffe://acme.example/operator/%61",
		"spiffe://acme.example/ns/shop/web", "spiffe://acme.example/operator/" + strings.Repeat("a", maxID), "%",
	} {
		if id, err := ParseIDString(s); err == nil {
			t.Errorf("%.60q: accepted as %+v", s, id)
		}
	}
	if _, err := ParseID(nil); err == nil {
		t.Error("no URI: accepted")
	}
	for _, bad := range []string{"", "Acme", "spiffe://acme.example", "a/b", strings.Repeat("a", 256)} {
		if ValidateTrustDomain(bad) == nil {
			t.Errorf("trust domain %.60q: accepted", bad)
		}
	}
}

func TestAuthorisersAdmitWhomTheyName(t *testing.T) {
	west, east, jo := ReplicaID(td, "us-west", "a"), ReplicaID(td, "asia-east", "a"), OperatorID(td, "jo")
	stranger, web := ReplicaID("b.example", "us-west", "a"), WorkloadID(td, "shop", "web")
	for name, c := range map[string]struct {
		allow Authoriser
		yes   []ID
	}{
		"replicas":  {AllowReplica(td), []ID{west, east}},
		"a region":  {AllowRegion(td, "us-west"), []ID{west}},
		"operators": {AllowOperator(td), []ID{jo}},
		"one ID":    {AllowID(web), []ID{web}},
		"either":    {AllowAny(AllowOperator(td), AllowRegion(td, "us-west")), []ID{west, jo}},
	} {
		admitted := map[ID]bool{}
		for _, id := range c.yes {
			admitted[id] = true
		}
		for _, id := range []ID{west, east, jo, stranger, web} {
			if err := c.allow(id); admitted[id] != (err == nil) || err != nil && !errors.Is(err, ErrNotAuthorised) {
				t.Errorf("%s: %s: %v", name, id, err)
			}
		}
	}
}

func TestKeyIDsAreReadBackAsWritten(t *testing.T) {
	id := SPKIKeyID([]byte("x"))
	if got := must(ParseKeyID(id.String()))(t); got != id || got.IsZero() {
		t.Fatalf("found %s", got)
	}
	for _, bad := range []string{"", "00", strings.Repeat("g", 64), strings.Repeat("0", 66)} {
		if _, err := ParseKeyID(bad); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}
