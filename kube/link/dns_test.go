package link

import (
	"net/netip"
	"strings"
	"testing"
)

const plainCorefile = ".:53 {\n    errors\n    reload\n}\n"

func TestWhereTheZoneGoesIntoAClustersDNS(t *testing.T) {
	here := []netip.Addr{netip.MustParseAddr("10.96.0.9"), netip.MustParseAddr("fd00::9")}
	provider := plainCorefile + "import custom/*.server\n"
	for name, test := range map[string]struct {
		f            DNSFacts
		where        string // CONFIGMAP/KEY, and + if it is made
		err, warning string
		port         string
	}{
		"CoreDNS":                            {DNSFacts{Corefile: plainCorefile}, "coredns/Corefile", "", "", ""},
		"a provider's CoreDNS":               {DNSFacts{Corefile: provider, Includes: "custom/*.server", HasCustom: true, Custom: map[string]string{"x.override": "clusterset.local"}}, "coredns-custom/federator.server", "", "", ""},
		"a provider's, with nothing of ours": {DNSFacts{Corefile: provider, Includes: "custom/*.server"}, "coredns-custom/federator.server+", "", "", ""},
		"somebody's in the provider's":       {DNSFacts{Corefile: provider, Includes: "custom/*.server", HasCustom: true, Custom: map[string]string{"mine.server": "clusterset.local {\n errors\n}\n"}}, "", "key mine.server: line 1: the zone is somebody else's", "", ""},
		"somebody's in the Corefile":         {DNSFacts{Corefile: "clusterset.local {\n errors\n}\n" + provider, Includes: "custom/*.server"}, "", "kube-system/coredns: line 1: the zone is somebody else's", "", ""},
		"a Corefile that is cut short":       {DNSFacts{Corefile: ".:53 {\n"}, "", "does not end; nothing was changed", "", ""},
		"CoreDNS at another port":            {DNSFacts{Corefile: ".:1053 {\n    errors\n    reload\n}\n"}, "coredns/Corefile", "", "", "1053"},
		"a provider's, at another port":      {DNSFacts{Corefile: ".:1053 {\n    errors\n    reload\n}\nimport custom/*.server\n", Includes: "custom/*.server"}, "coredns-custom/federator.server+", "", "", "1053"},
		"a cache on the nodes":               {DNSFacts{Corefile: plainCorefile, NodeLocal: true}, "coredns/Corefile", "", "NodeLocal DNSCache", ""},
		"no reload":                          {DNSFacts{Corefile: ".:53 {\n errors\n}\n"}, "coredns/Corefile", "", "kubectl --context west -n kube-system rollout restart deployment coredns", ""},
		"kube-dns":                           {DNSFacts{Missing: true, Other: "kube-dns"}, "", "stubDomains", "", ""},
		"something else":                     {DNSFacts{Missing: true}, "", "no ConfigMap kube-system/coredns", "", ""},
		"not to be seen":                     {DNSFacts{Problem: "forbidden"}, "", "forbidden", "", ""},
	} {
		test.f.Service, test.f.at = here, place{"west", "fed"}
		c, err := PlanDNS(test.f, DefaultZone)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: expected %q, found %v", name, test.err, err)
			}
			continue
		}
		where := c.ConfigMap + "/" + c.Key
		if c.Create {
			where += "+"
		}
		if test.port != "" && !strings.Contains(c.After, "clusterset.local:"+test.port+" {") {
			t.Errorf("%s: expected the port %s, found\n%s", name, test.port, c.After)
		}
		if err != nil || where != test.where || !strings.Contains(c.Diff(), "+     forward . 10.96.0.9 fd00::9\n") || !strings.Contains(strings.Join(c.Warnings, "\n"), test.warning) || (len(c.Warnings) > 0) != (test.warning != "") {
			t.Errorf("%s: expected %s, %q, found %v, %+v", name, test.where, test.warning, err, c)
			continue
		}
		done := test.f
		if c.ConfigMap == customName {
			done.HasCustom, done.Custom = true, map[string]string{c.Key: c.After}
		} else {
			done.Corefile = c.After
		}
		if again, err := PlanDNS(done, DefaultZone); err != nil || !again.None() {
			t.Errorf("%s: a second time: %v, %+v", name, err, again)
		}
		out, err := PlanNoDNS(done)
		if err != nil || out.After != c.Before || out.Delete != (c.ConfigMap == customName) {
			t.Errorf("%s: out again: %v, %+v", name, err, out)
		}
	}
	if _, err := PlanDNS(DNSFacts{at: place{"west", "fed"}, Corefile: plainCorefile}, DefaultZone); err == nil || !strings.Contains(err.Error(), "federator install --context west --federator-namespace fed") {
		t.Errorf("without a Service: %v", err)
	}
	if c, err := PlanNoDNS(DNSFacts{Corefile: plainCorefile}); err != nil || !c.None() {
		t.Errorf("nothing to take out: %v, %+v", err, c)
	}
}
