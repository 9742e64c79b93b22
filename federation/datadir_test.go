package federation

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/federator/federator/identity"
)

func TestADirectoryInUseIsLeftAlone(t *testing.T) {
	p := place(t, "us-west", "a")
	lock, err := dataDir(p.DataDir).lock()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	_, initErr := Init(InitOptions{Place: p, TrustDomain: "test.example"})
	_, joinErr := Join(context.Background(), JoinOptions{Place: p})
	for name, err := range map[string]error{"init": initErr, "join": joinErr} {
		if err == nil || !strings.Contains(err.Error(), "in use by another federator process") {
			t.Errorf("%s: expected it to be refused, found %v", name, err)
		}
	}
	if _, err := os.Stat(dataDir(p.DataDir).identity()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("expected nothing in the directory, found an identity: %v", err)
	}
}

func TestADirectoryIsGivenUpAlsoWhileAProgramIsBeingStarted(t *testing.T) {
	dir := dataDir(t.TempDir())
	lock, err := dir.lock()
	if err != nil {
		t.Fatal(err)
	}
	other, err := unix.Dup(int(lock.Fd())) // as a program has it until it runs
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(other)
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := dir.lock()
	if err != nil {
		t.Fatalf("expected it to be free: %v", err)
	}
	_ = again.Close()
}

func TestARestoreThatWasCutShortIsRunAgain(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	key, err := identity.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	path := west.backup(t, key.Recipient())
	p := place(t, "us-west", "z")
	dir := dataDir(p.DataDir)
	restore := func() error {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, err = Restore(RestoreOptions{Place: p, Archive: f, Key: key.Secret()})
		return err
	}
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	if err := restore(); err == nil {
		t.Fatal("a state that is there must not be overwritten")
	}
	for _, killed := range []string{"before the card", "after the card"} {
		if err := writeFile(dir.restoreMark(), nil); err != nil {
			t.Fatal(err)
		}
		if killed == "before the card" {
			if err := os.Remove(dir.card()); err != nil {
				t.Fatal(err)
			}
		} else if err := dir.restored(); err == nil {
			t.Fatal("half a region must not be run")
		}
		if err := restore(); err != nil {
			t.Fatalf("killed %s: %v", killed, err)
		}
	}
	_ = west.stop()
	start(t, p, "")
}

func TestAReplicaThatIsStoppedWhileItLeavesIsMarked(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	b := west.admit(t, "us-west", "b", "")
	b.left()
	if err := b.stop(); err != nil && !errors.Is(err, ErrLeft) {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.dir.leftMark()); err != nil {
		t.Fatalf("expected the mark: %v", err)
	}
}

// What an init that was cut short wrote for its founder would make the replica the only
// voter of a Raft of its own, beside that of the region that it joins.
func TestAnInitThatWasCutShortFoundsNothingInADirectoryThatJoins(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	p := place(t, "us-west", "b")
	if _, err := Init(InitOptions{Place: p, TrustDomain: "other.example"}); err != nil {
		t.Fatal(err)
	}
	dir := dataDir(p.DataDir)
	if err := os.Remove(dir.card()); err != nil { // which comes last
		t.Fatal(err)
	}
	if _, err := Join(t.Context(), JoinOptions{Place: p, Token: west.invite(t)}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir.founding(), dir.sealedCA()} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("expected %s to be gone, found %v", path, err)
		}
	}
	b := start(t, p, "")
	eventually(t, patience, "b follows a and knows the region", func() bool {
		leader, ok := b.node.Leader()
		return ok && leader == west.card.Replica.RaftID() && b.registered("a") && b.registered("b") && b.about().Epoch == 1
	})
}
