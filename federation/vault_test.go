package federation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/gossip"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/identity"
)

func sealedRing(t *testing.T, generation, version uint64, to string) state.Secret {
	t.Helper()
	blob, err := sealKeyring(keyringSecret{Version: version, Keys: [][]byte{make([]byte, 32)}}, []string{to})
	if err != nil {
		t.Fatal(err)
	}
	return state.Secret{Name: secretKeyring, Blob: blob, Recipients: []string{to}, Generation: generation}
}

func newTestVault(t *testing.T, file string) *vault {
	t.Helper()
	key, err := identity.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := gossip.NewKeyring(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return newVault(key, file, ring)
}

func TestASecretThatCouldNotBeKeptIsTriedAgain(t *testing.T) {
	p := place(t, "us-west", "a")
	if _, err := Init(InitOptions{Place: p, TrustDomain: "test.example"}); err != nil {
		t.Fatal(err)
	}
	blob, err := os.ReadFile(dataDir(p.DataDir).sealedCA())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "full") // no file can be written there yet
	v := newTestVault(t, filepath.Join(dir, "sealed"))
	keys, err := dataDir(p.DataDir).keys()
	if err != nil {
		t.Fatal(err)
	}
	v.key = keys.seal
	secrets := []state.Secret{{Name: secretIntermediate, Blob: blob, Recipients: []string{v.key.Recipient()}, Generation: 1}}
	if err := v.refresh(secrets); err == nil {
		t.Fatal("expected an error of the disk")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := v.refresh(secrets); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(v.file); err != nil {
		t.Fatalf("expected the sealed authority on disk: %v", err)
	}
}

func TestAnOlderReadingOfASecretChangesNothing(t *testing.T) {
	v := newTestVault(t, "")
	me := v.key.Recipient()
	old, now := sealedRing(t, 1, 1, me), sealedRing(t, 2, 2, me)
	for _, s := range []state.Secret{old, now, old} {
		if err := v.refresh([]state.Secret{s}); err != nil {
			t.Fatal(err)
		}
	}
	if ring, from := v.keysOf(); ring.Version != 2 || from != 2 {
		t.Fatalf("expected version 2 of generation 2, found %d of %d", ring.Version, from)
	}
	for _, s := range []struct {
		state.Secret
		open bool
	}{{old, false}, {now, true}, {sealedRing(t, 3, 3, me), false}} {
		blob, err := v.sealAnew(s.Secret, []string{me})
		if err != nil || (blob != nil) != s.open {
			t.Errorf("generation %d: expected to seal it anew: %v, found %v, %v", s.Generation, s.open, blob != nil, err)
		}
	}
}

func TestTwoRotationsOfTheGossipKeyDoNotOverwriteEachOther(t *testing.T) {
	west := initialise(t, "us-west", "a", "")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	own, generation := west.vault.keysOf()
	own.Version++
	if err := west.putKeyring(ctx, own, generation); err != nil {
		t.Fatal(err)
	}
	if err := west.putKeyring(ctx, own, generation); !errors.Is(err, state.ErrConflict) {
		t.Fatalf("expected a conflict, found %v", err)
	}
}

func TestRegionsThatDoNotAnswerAreAskedForTheirKeyringAtOnce(t *testing.T) {
	hole, err := net.Listen("tcp", "127.0.0.1:0") // connects, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	west := initialise(t, "us-west", "a", "")
	var want []string
	for i := range 8 {
		region := fmt.Sprintf("dead-%d", i)
		want = append(want, region)
		rec := catalog.Record{Replica: &catalog.Replica{Name: "a", Region: region, PeerAddress: hole.Addr().String()}}
		if err := west.catalog.Reset(catalog.Snapshot{Region: region, Version: catalog.Version{Epoch: 1, Seq: 1}, Records: []catalog.Record{rec}}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	got := west.laggards(context.Background(), keyringSecret{Version: 2})
	if !slices.Equal(got, want) {
		t.Fatalf("expected %v, found %v", want, got)
	}
	if took := time.Since(began); took > 7*time.Second { // one after the other it is a second for each of the eight
		t.Fatalf("expected about a second, it took %s", took)
	}
}

func TestAKeyringGoesOnOnceEverybodyHasHeldItForAWhile(t *testing.T) {
	var s spreadKeyring
	at := time.Now()
	for _, step := range []struct {
		version uint64
		after   time.Duration
		due     bool
	}{{2, 0, false}, {2, 4 * time.Second, false}, {2, 5 * time.Second, true}, {3, 6 * time.Second, false}, {3, 11 * time.Second, true}} {
		if due := s.since(step.version, at.Add(step.after), 5*time.Second); due != step.due {
			t.Errorf("version %d after %s: expected %v, found %v", step.version, step.after, step.due, due)
		}
	}
}
