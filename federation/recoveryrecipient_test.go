package federation

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
)

func TestATrustDomainIsFoundedForARecoveryKeyThatIsKeptElsewhere(t *testing.T) {
	secret, recipient, err := NewRecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	p := place(t, "us-west", "a")
	result, err := Init(InitOptions{Place: p, TrustDomain: "test.example", RecoveryRecipient: recipient})
	if err != nil {
		t.Fatal(err)
	}
	if result.RecoveryKey != "" || result.RecoveryRecipient != recipient {
		t.Errorf("expected no key and the recipient that was given, found %d bytes of a key and %q", len(result.RecoveryKey), result.RecoveryRecipient)
	}
	f, err := dataDir(p.DataDir).readFounding()
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.ParseSealKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for _, s := range f.Secrets.Secrets {
		if _, err := identity.Unseal(s.Blob, key); (err == nil) != (s.Name == secretRoot) {
			t.Errorf("%s: expected the recovery key to open the root and nothing else, found %v", s.Name, err)
		} else if err == nil {
			opened++
		}
	}
	if opened != 1 {
		t.Errorf("expected the root's secret once among %d, found it %d times", len(f.Secrets.Secrets), opened)
	}
	_ = filepath.Walk(p.DataDir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			if b, err := os.ReadFile(path); err != nil || strings.Contains(string(b), secret) {
				t.Errorf("%s: holds the recovery key, or cannot be read: %v", path, err)
			}
		}
		return nil
	})

	a := start(t, p, "") // and its root can be used
	eventually(t, patience, "the founder to hold the root", a.holdsRoot)
	a.node.Read(func(s *state.State) {
		found, ok := s.Secret(secretRoot)
		if !ok {
			t.Fatal("the state holds no root")
		}
		if _, err := identity.Unseal(found.Blob, key); err != nil {
			t.Errorf("the root that the region keeps: %v", err)
		}
	})
}

func TestARecoveryRecipientThatIsNoneIsRefusedBeforeAnythingIsMade(t *testing.T) {
	p := place(t, "us-west", "a")
	_, err := Init(InitOptions{Place: p, TrustDomain: "test.example", RecoveryRecipient: "age1nonsense"})
	if err == nil || !strings.Contains(err.Error(), "federator recovery-key") {
		t.Errorf("expected to be told how to make one, found %v", err)
	}
	if left, err := os.ReadDir(p.DataDir); err != nil || len(left) > 0 {
		t.Errorf("expected an empty directory, found %v, %v", left, err)
	}
}
