package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/test/e2e/fleet"
)

func TestARegionIsRestoredFromABackupOnANewMachine(t *testing.T) {
	f := newFleet(t)
	west := f.Init("west")
	east := f.Join(west, "east", "east-0")
	f.Join(east, "east", "east-1")
	restored(f, east, west)
}

func TestTheAuthorityRegionIsRestoredFromABackupOnANewMachine(t *testing.T) {
	f := newFleet(t)
	west := f.Init("west")
	east := f.Join(west, "east", "east-0")
	again := restored(f, west, east)
	f.Join(again, "south", "south-0") // it still founds regions
	f.Join(east, "north", "north-0")
}

// restored backs the region of lost up, loses all of it, and restores it on a
// new machine that has the address of lost. Another region watches.
func restored(f *fleet.Fleet, lost, watcher *fleet.Replica) *fleet.Replica {
	f.Helper()
	durable := f.Endpoints(1)
	f.Pipe(fleet.ServicesFile("shop/durable", durable...), "services", "apply", "-f", "-", "--socket", lost.Sock).OK(f)
	f.AnswersAll(15*time.Second, f.Replicas(""), "shop/durable", lost.Region, durable...)
	apply(f, watcher, "shop/durable", watcher.Region).OK(f)
	key, err := identity.NewSealKey()
	if err != nil {
		f.Fatal(err)
	}
	keyFile := f.Write("backup.key", key.Secret()+"\n")
	backup := filepath.Join(f.Dir, "backup")
	lost.CLI("backup", backup, "--recipient", key.Recipient()).OK(f)
	lost.CLI("backup", backup).Fails(f, 1, "exists")
	before, err := watcher.RegionStatus(lost.Region)
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range f.Replicas(lost.Region) {
		r.Kill()
		if err := os.RemoveAll(r.Dir); err != nil {
			f.Fatal(err)
		}
	}

	again := f.Place(lost.Region, lost.Name)
	again.Peer, again.Gossip, again.DNS, again.HTTP = lost.Peer, lost.Gossip, lost.DNS, lost.HTTP
	restore := func(file string, more ...string) fleet.Result {
		return f.Run(append(append([]string{"restore", file}, again.Placing()...), more...)...)
	}
	refuseDamaged(f, backup, func(file string) fleet.Result { return restore(file, "--key-file", keyFile) })
	restore(backup).Fails(f, 1, "--key-file")
	restore(backup, "--key-file", f.Write("other.key", otherKey(f)+"\n")).Fails(f, 1, "key")
	restore(backup, "--key-file", keyFile).OK(f)
	again.Start()
	again.Ready()
	f.Until(20*time.Second, watcher.String()+" to follow the new epoch", func() error { return newer(watcher, lost.Region, before.GetEpoch()) })
	f.AnswersAll(15*time.Second, []*fleet.Replica{again, watcher}, "shop/durable", lost.Region, durable...)
	f.Until(10*time.Second, "the policies to be refilled", func() error { return policiesAre(again, "shop/durable") })
	more := f.Endpoints(2)
	f.Pipe(fleet.ServicesFile("shop/durable", more...), "services", "apply", "-f", "-", "--socket", again.Sock).OK(f)
	f.AnswersAll(15*time.Second, []*fleet.Replica{again, watcher}, "shop/durable", lost.Region, more...)
	f.Join(again, lost.Region, lost.Region+"-7")
	return again
}

func otherKey(t testing.TB) string {
	t.Helper()
	key, err := identity.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	return key.Secret()
}

// refuseDamaged checks that damaged copies of a backup are refused.
func refuseDamaged(f *fleet.Fleet, backup string, restore func(string) fleet.Result) {
	f.Helper()
	good, err := os.ReadFile(backup)
	if err != nil {
		f.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-40] ^= 1
	restore(f.Write("cut", string(good[:len(good)-100]))).Fails(f, 1, "backup")
	restore(f.Write("flipped", string(flipped))).Fails(f, 1, "backup")
	restore(f.Write("other", "something else\n")).Fails(f, 1, "expected a file that federator backup wrote")
	restore(filepath.Join(f.Dir, "none")).Fails(f, 1, "none")
}
