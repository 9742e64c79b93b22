package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestARecoveryKeyIsMadeInAFileOfItsOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recovery.key")
	out, errOut, code := cli(t, "", "recovery-key", path)
	if code != exitOK || errOut != "" || !strings.HasPrefix(out, "age1") || strings.Count(out, "\n") != 1 {
		t.Fatalf("expected the recipient alone, found %d, %q, %q", code, out, errOut)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("expected a file that nobody else may read, found %v, %v", info, err)
	}
	key, err := os.ReadFile(path)
	if err != nil || strings.Contains(out, strings.TrimSpace(string(key))) || len(key) < 20 {
		t.Errorf("expected the key in the file only, found %d bytes, %v", len(key), err)
	}
	if _, errOut, code := cli(t, "", "recovery-key", path); code != exitFailed || !strings.Contains(errOut, "exists") {
		t.Errorf("a key that is there must not be replaced: %d, %q", code, errOut)
	}
	dir := filepath.Join(t.TempDir(), "data")
	founded, errOut, code := cli(t, "", "init", "--trust-domain", "acme.example", "--region", "us-west", "--cluster", "west-1", "--name", "a",
		"--data-dir", dir, "--recovery-recipient", strings.TrimSpace(out))
	if code != exitOK || !strings.Contains(founded, strings.TrimSpace(out)) || !strings.Contains(founded, "stays where it was made") || strings.Contains(founded, "RECOVERY KEY") {
		t.Errorf("found %d, %q, %q", code, founded, errOut)
	}
}

func TestInitTakesARecoveryKeyFileOrARecipient(t *testing.T) {
	_, errOut, code := cli(t, "", "init", "--trust-domain", "a.example", "--region", "r", "--cluster", "c", "--recovery-recipient", "age1x", "--recovery-key-file", "f")
	if code != exitUsage || !strings.Contains(errOut, "exclude each other") {
		t.Errorf("found %d, %q", code, errOut)
	}
}

func TestManifestsArePrintedForTheValues(t *testing.T) {
	out, errOut, code := cli(t, "", "manifests", "--region", "eu-central", "--cluster", "central-1", "--image", "registry.example/federator:v1", "--replicas", "5")
	if code != exitOK || errOut != "" {
		t.Fatalf("found %d, %q", code, errOut)
	}
	for _, line := range []string{"region: eu-central", "cluster: central-1", "image: registry.example/federator:v1", "replicas: 5", "kind: NetworkPolicy"} {
		if !strings.Contains(out, line) {
			t.Errorf("expected %q in the manifests", line)
		}
	}
	if _, errOut, code := cli(t, "", "manifests", "--region", "r", "--cluster", "c", "--trust-domain", "acme.example", "--recovery-recipient", "age1..."); code != exitUsage || !strings.Contains(errOut, "--recovery-recipient: ") {
		t.Errorf("found %d, %q", code, errOut)
	}
	if _, errOut, code := cli(t, "", "manifests", "--region", "r", "--cluster", "c", "--expose", "somehow"); code != exitUsage || !strings.Contains(errOut, "loadbalancer") {
		t.Errorf("found %d, %q", code, errOut)
	}
}

func TestAPodSaysWhatItLacks(t *testing.T) {
	for want, args := range map[string][]string{
		"FEDERATOR_REGION": {"pod"},
		"POD_NAME":         {"pod", "--region", "us-west", "--cluster", "west-1"},
		"hostport":         {"pod", "--region", "us-west", "--cluster", "west-1", "--expose", "somehow"},
	} {
		if _, errOut, code := cli(t, "", args...); code != exitUsage || !strings.Contains(errOut, want) {
			t.Errorf("%v: expected to hear of %s, found %d, %q", args, want, code, errOut)
		}
	}
}
