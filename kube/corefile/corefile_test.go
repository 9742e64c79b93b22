package corefile

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

const kubeadm = `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
`

// aks has its plugins extended by files of a ConfigMap of another name.
const aks = `.:53 {
    errors
    ready
    import custom/*.override
    template ANY ANY internal.cloudapp.net {
      match "^(?:[^.]+\.){4,}internal\.cloudapp\.net\.$"
      rcode NXDOMAIN
      fallthrough
    }
    reload
}
import custom/*.server
`

func stub(to ...string) Stub {
	s := Stub{Zone: "clusterset.local"}
	for _, t := range to {
		s.To = append(s.To, netip.MustParseAddr(t))
	}
	return s
}

func TestAStubIsAddedOnceAndItsRemovalRestoresEveryByte(t *testing.T) {
	for name, text := range map[string]string{
		"kubeadm": kubeadm, "aks": aks, "nothing": "", "no end of the last line": strings.TrimSuffix(kubeadm, "\n"),
		"two blank lines": kubeadm + "\n\n", "carriage returns": strings.ReplaceAll(kubeadm, "\n", "\r\n"),
		"a comment at the end": kubeadm + "# mine", "an environment variable": ".:{$PORT} {\n  errors\n}\n",
		"keys on lines of their own": "a.example:53,\nb.example {\n errors\n}", "quotes": "example.org {\n template IN A {\n  answer \"{{ .Name }} 60 IN A 1.2.3.4 # {\"\n }\n}\n",
	} {
		added, err := Add(text, stub("10.96.0.23"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.Contains(added, "\nclusterset.local:53 {\n    errors\n    forward . 10.96.0.23\n}\n# END federator.dev\n") {
			t.Errorf("%s: found\n%s", name, added)
		}
		if again, err := Add(added, stub("10.96.0.23")); err != nil || again != added {
			t.Errorf("%s: a second time: %v\n%s", name, err, again)
		}
		moved, err := Add(added+"later.example {\n}\n", stub("10.96.0.24", "fd00::24"))
		if err != nil || strings.Contains(moved, "10.96.0.23") || !strings.Contains(moved, "forward . 10.96.0.24 fd00::24\n") || !strings.HasSuffix(moved, "# END federator.dev\nlater.example {\n}\n") {
			t.Errorf("%s: expected the new address where the old one was: %v\n%s", name, err, moved)
		}
		for _, with := range []string{added, text} {
			if back, err := Remove(with); err != nil || back != text {
				t.Errorf("%s: removed: %v\n%q\nexpected\n%q", name, err, back, text)
			}
		}
	}
}

func TestWhatSomebodyElseHasIsNotTouched(t *testing.T) {
	for name, text := range map[string]string{
		"a block":                 "clusterset.local:53 {\n forward . 1.1.1.1\n}\n",
		"a block with others":     kubeadm + "example.org, dns://ClusterSet.local. {\n errors\n}\n",
		"a zone below it":         "svc.clusterset.local {\n errors\n}\n",
		"the plugin multicluster": strings.Replace(kubeadm, "prometheus", "multicluster clusterset.local\n    prometheus", 1),
		"a forward in a block":    strings.Replace(kubeadm, "prometheus", "forward clusterset.local. 1.1.1.1\n    prometheus", 1),
		"a snippet":               "(mine) {\n forward clusterset.local 1.1.1.1\n}\n" + kubeadm,
	} {
		if added, err := Add(text, stub("10.96.0.23")); !errors.Is(err, ErrTaken) {
			t.Errorf("%s: expected a refusal, found %v\n%s", name, err, added)
		}
		if Taken(text, "clusterset.local") == nil {
			t.Errorf("%s: nobody has it", name)
		}
	}
	if err := Taken(kubeadm, "clusterset.local"); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotUnderstoodIsNotTouched(t *testing.T) {
	ours, err := Add(kubeadm, stub("10.96.0.23"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a block that does not end":     strings.TrimSuffix(kubeadm, "}\n"),
		"a brace too many":              kubeadm + "}\n",
		"no braces":                     "example.org\nerrors\n",
		"a quote that does not end":     "example.org {\n log \"x\n}\n",
		"nothing before the brace":      "{\n errors\n}\n",
		"words after the brace":         "example.org { errors\n}\n",
		"words after the last brace":    "example.org {\n errors\n} more\n",
		"an import of nothing":          "import\n",
		"bytes that are no text":        "example.org {\n \x00\n}\n",
		"the end of ours is gone":       strings.Replace(ours, end+"\n", "", 1),
		"the beginning of ours is gone": strings.Replace(ours, begin+"\n", "", 1),
		"ours twice":                    ours + ours,
		"the ends swapped":              end + "\n" + begin + "\n",
	} {
		if added, err := Add(text, stub("10.96.0.24")); err == nil {
			t.Errorf("%s: expected a refusal, found\n%s", name, added)
		}
	}
	for name, s := range map[string]Stub{"no zone": {To: stub("1.1.1.1").To}, "no server": {Zone: "clusterset.local"}, "a block as a zone": {Zone: "x {", To: stub("1.1.1.1").To}} {
		if added, err := Add(kubeadm, s); err == nil {
			t.Errorf("%s: expected a refusal, found\n%s", name, added)
		}
	}
}

func TestWhatAFileSaysIsRead(t *testing.T) {
	f, err := Parse(aks)
	if err != nil {
		t.Fatal(err)
	}
	if f.IncludesServers() != "custom/*.server" || !f.Reloads() || len(f.Blocks) != 1 || !reflect.DeepEqual(f.Blocks[0].Keys, []string{".:53"}) {
		t.Errorf("found %+v", f)
	}
	want := Directive{Name: "template", Args: []string{"ANY", "ANY", "internal.cloudapp.net", "match", `^(?:[^.]+\.){4,}internal\.cloudapp\.net\.$`, "rcode", "NXDOMAIN", "fallthrough"}, Line: 5}
	if found := f.Blocks[0].Directives[3]; !reflect.DeepEqual(found, want) {
		t.Errorf("expected %+v, found %+v", want, found)
	}
	for key, zone := range map[string]string{".:53": "", "dns://Example.org.:1053": "example.org", "10.0.0.0/8": "10.0.0.0/8", "example.org": "example.org"} {
		if found := zoneOf(key); found != zone {
			t.Errorf("%s: expected %q, found %q", key, zone, found)
		}
	}
}

func TestTheZoneIsServedWhereClientsAreLed(t *testing.T) {
	for text, want := range map[string]string{
		kubeadm: "53", aks: "53", "": "53", ". {\n errors\n}\n": "53", "dns://.:1053 {\n errors\n}\n": "1053",
		"example.org:99 {\n errors\n}\nexample.com, .:5353 {\n errors\n}\n": "5353", ".:{$PORT} {\n errors\n}\n": "{$PORT}",
	} {
		f, err := Parse(text)
		if err != nil || f.Port() != want {
			t.Errorf("%q: expected %s, found %s, %v", text, want, f.Port(), err)
			continue
		}
		s := stub("10.96.0.23")
		s.Port = f.Port()
		added, err := Add(text, s)
		if err != nil || !strings.Contains(added, "\nclusterset.local:"+want+" {\n") {
			t.Errorf("%q: %v\n%s", text, err, added)
		}
		if again, err := Add(added, s); err != nil || again != added {
			t.Errorf("%q: a second time: %v\n%s", text, err, again)
		}
	}
	s := stub("10.96.0.23")
	if s.Port = "53 {"; s.validate() == nil {
		t.Error("expected a refusal of what is no port")
	}
}

func TestADiffShowsTheBlockAndWhatIsAroundIt(t *testing.T) {
	added, err := Add(kubeadm+"example.org {\n    errors\n}\n", stub("10.96.0.23"))
	if err != nil {
		t.Fatal(err)
	}
	want := `  example.org {
      errors
  }
+ # BEGIN federator.dev
+ clusterset.local:53 {
+     errors
+     forward . 10.96.0.23
+ }
+ # END federator.dev
`
	if found := Diff(kubeadm+"example.org {\n    errors\n}\n", added); found != want {
		t.Errorf("found\n%s", found)
	}
	if found := Diff(added, kubeadm+"example.org {\n    errors\n}\n"); !strings.Contains(found, "- clusterset.local:53 {\n") || strings.Contains(found, "+ ") {
		t.Errorf("found\n%s", found)
	}
	if found := Diff(added, added); found != "" {
		t.Errorf("found\n%s", found)
	}
}

func FuzzCorefile(f *testing.F) {
	for _, seed := range []string{kubeadm, aks, "", begin + "\n" + end + "\n", begin + grown + "\n" + end, "a,\nb {\n x {\n y\n }\n}", "\"a\" {\n}\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := stub("10.96.0.23")
		added, err := Add(text, s)
		if err != nil {
			return
		}
		original, err := Remove(text)
		if err != nil {
			t.Fatalf("it was added and cannot be removed: %v", err)
		}
		if back, err := Remove(added); err != nil || back != original {
			t.Fatalf("removed: %v\n%q\nexpected\n%q", err, back, original)
		}
		if again, err := Add(added, s); err != nil || again != added {
			t.Fatalf("a second time: %v\n%q\nexpected\n%q", err, again, added)
		}
		before, errBefore := Parse(original)
		after, errAfter := Parse(added)
		if errBefore != nil || errAfter != nil || len(after.Blocks) != len(before.Blocks)+1 || len(after.Imports) != len(before.Imports) {
			t.Fatalf("expected one block more: %v, %v\n%q\n%q", errBefore, errAfter, original, added)
		}
		if !strings.Contains(Diff(original, added), "+ clusterset.local:53 {\n") {
			t.Fatalf("the diff does not show it:\n%s", Diff(original, added))
		}
	})
}
