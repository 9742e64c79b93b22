package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/federator/federator/federation"
	"github.com/federator/federator/identity"
)

// fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// initArgs found a trust domain in dir, with its recovery key in the file key.
func initArgs(dir, key string, more ...string) []string {
	return append([]string{"init", "--trust-domain", "acme.example", "--region", "us-west", "--cluster", "west-1", "--name", "a",
		"--peer-address", "127.0.0.1:7443", "--gossip-address", "127.0.0.1:7946", "--data-dir", dir, "--recovery-key-file", key}, more...)
}

// opensRoot checks that the key in a file opens the root of the trust domain that was
// founded in dir.
func opensRoot(t *testing.T, dir, keyFile string) {
	t.Helper()
	text, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatalf("the only key to a trust domain that is founded: %v", err)
	}
	key, err := identity.ParseSealKey(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatalf("the only key to a trust domain that is founded: %d bytes, %v", len(text), err)
	}
	written, err := os.ReadFile(filepath.Join(dir, "founding.json"))
	if err != nil {
		t.Fatal(err)
	}
	var founding struct {
		Secrets struct{ Secrets []struct{ Blob []byte } }
	}
	if err := json.Unmarshal(written, &founding); err != nil {
		t.Fatal(err)
	}
	for _, s := range founding.Secrets.Secrets {
		if _, err := identity.Unseal(s.Blob, key); err == nil {
			return
		}
	}
	t.Errorf("the key opens none of the %d secrets, and so not the root", len(founding.Secrets.Secrets))
}

func TestAFoundedTrustDomainHasItsRecoveryKeyAlsoIfNothingCanBePrinted(t *testing.T) {
	for _, output := range []string{"json", "text"} {
		t.Run(output, func(t *testing.T) {
			dir, key := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "recovery.key")
			var said strings.Builder
			code := run(t.Context(), initArgs(dir, key, "-o", output), func(string) string { return "" }, stdio{strings.NewReader(""), fullDisk{}, &said})
			if code != exitFailed || !strings.Contains(said.String(), "no space left") || strings.Contains(said.String(), "AGE-SECRET-KEY") {
				t.Errorf("expected to hear that nothing was printed, found %d, %q", code, said.String())
			}
			opensRoot(t, dir, key)
		})
	}
}

func TestARecoveryKeyThatIsInNoFileAndCannotBePrintedIsSaidWithTheError(t *testing.T) {
	for _, output := range []string{"json", "text"} {
		t.Run(output, func(t *testing.T) {
			args := initArgs(filepath.Join(t.TempDir(), "data"), "")
			var said strings.Builder
			code := run(t.Context(), append(args[:len(args)-2], "-o", output), func(string) string { return "" }, stdio{strings.NewReader(""), fullDisk{}, &said})
			if code != exitFailed || !strings.Contains(said.String(), "no space left") || !strings.Contains(said.String(), "AGE-SECRET-KEY") {
				t.Errorf("expected the error and the key, found %d, %q", code, said.String())
			}
		})
	}
}

func TestAnInitThatFailsLeavesNoRecoveryKey(t *testing.T) {
	dir, first, second := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "first.key"), filepath.Join(t.TempDir(), "second.key")
	if _, errOut, code := cli(t, "", initArgs(dir, first, "--region", "US_West")...); code != exitFailed || !strings.Contains(errOut, "region") {
		t.Fatalf("expected the region to be refused, found %d, %q", code, errOut)
	}
	if _, err := os.Stat(first); !os.IsNotExist(err) {
		t.Errorf("expected no key of a trust domain that is not founded, found %v", err)
	}
	out, errOut, code := cli(t, "", initArgs(dir, first)...)
	if code != exitOK || !strings.Contains(out, "the recovery key is in "+first) || strings.Contains(out, "AGE-SECRET-KEY") {
		t.Fatalf("found %d, %q, %q", code, out, errOut)
	}
	opensRoot(t, dir, first)
	if _, errOut, code := cli(t, "", initArgs(dir, second)...); code != exitFailed || !strings.Contains(errOut, "already holds replica") {
		t.Errorf("expected the directory to be taken, found %d, %q", code, errOut)
	}
	if _, err := os.Stat(second); !os.IsNotExist(err) {
		t.Errorf("expected no second key, found %v", err)
	}
}

// What an init that was cut short leaves is a key, and perhaps a trust domain of it.
func TestAnInitThatWasCutShortIsDoneAgainWithItsKey(t *testing.T) {
	dir, key := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "recovery.key")
	made, err := saveRecoveryKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if out, errOut, code := cli(t, "", initArgs(dir, key)...); code != exitOK || !strings.Contains(out, made) {
		t.Fatalf("before the trust domain was founded: %d, %q, %q", code, out, errOut)
	}
	opensRoot(t, dir, key)
	if _, errOut, code := cli(t, "", initArgs(dir, key)...); code != exitFailed || !strings.Contains(errOut, "already holds replica") {
		t.Errorf("after it was: %d, %q", code, errOut)
	}
	opensRoot(t, dir, key)
	if !federation.HasReplica(dir) {
		t.Error("the trust domain is gone")
	}
}
