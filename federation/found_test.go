package federation

import (
	"os"
	"testing"

	"github.com/federator/federator/identity"
)

// The others find an authority region that was restored on another machine.
func TestARestoredAuthorityIsFoundUnderANewName(t *testing.T) {
	t.Parallel()
	west := initialise(t, "us-west", "a", "")
	eu := west.admit(t, "eu-central", "a", "")
	eventually(t, patience, "eu knows west", func() bool { return eu.importsKnown() })
	key, err := identity.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	path := west.backup(t, key.Recipient())
	_ = west.stop()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := place(t, "us-west", "z")
	if _, err := Restore(RestoreOptions{Place: p, Archive: f, Key: key.Secret()}); err != nil {
		t.Fatal(err)
	}
	start(t, p, "")
	eventually(t, patience, "eu takes the restored authority's epoch", func() bool { return eu.catalog.Version("us-west").Epoch == 2 })
}
