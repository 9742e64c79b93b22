package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
	"github.com/federator/federator/test/lab/checker"
)

// diskScenarios are about disks, on a world with small ones.
func diskScenarios() []Scenario {
	return []Scenario{
		{Name: "full disk", Do: fullDisk, Bounds: Bounds{Named: 20 * time.Second, Whole: 60 * time.Second},
			Says: "The disk of a leader has no room left. Its region has to go on accepting writes, it has to name its disk, and to go on without a restart when there is room again."},
		{Name: "damaged log", Do: damagedLog,
			Says: "A follower is killed, and finds its log cut short, and then with flipped bits where the last entries are. It has to refuse to start and to say what is corrupt. With its own disk back it catches up."},
		{Name: "damaged snapshot", Do: damagedSnapshot,
			Says: "The same with its newest snapshot: it may start from the one before, or has to say what is corrupt."},
		{Name: "old disk", Do: oldDisk,
			Says: "A follower comes back with the disk that it had twelve seconds before. It has to catch up, and nothing may be lost."},
		{Name: "replica replaced", Do: replaced,
			Says: "A replica and its disk are lost; another one joins under the same name and address, while the other replicas of its region are under load."},
	}
}

func fullDisk(s *Stage) {
	leader := s.Leader(s.opt.Tight)
	other := s.siblings(leader)[0]
	f := FullDisk{leader}
	s.Break(f)
	s.Note("named within", s.Problems.Named(s.Ctx, s.Bounds.Named, checker.Expectation{
		By: func(t checker.Target) bool { return t.String() == leader.String() }, Codes: []string{"disk"}, Subject: leader.Name,
	}))
	began := time.Now()
	s.Until(patience, "writes in its region to go on", func() error { return accepts(other) })
	s.Note("writes accepted after", time.Since(began))
	s.For(3 * time.Second)
	s.Mend(f)
}

// damagedLog puts a mark at the end of the log, which is easy to find there.
func damagedLog(s *Stage) {
	for _, d := range []struct {
		words string
		spoil func(path, mark string) error
	}{
		{"log cut short", func(path, _ string) error { return cutLog(path) }},
		{"log with flipped bits", flipMark},
	} {
		r := pick(s, s.Followers(s.opt.Regions[0]))
		err := s.spoilLog(r, d.words, d.spoil)
		for again := 0; again < 5 && errors.Is(err, errCovered); again++ {
			s.story.Say("  %s has written a snapshot meanwhile, and does not need that part of its log: once more", r)
			err = s.spoilLog(r, d.words, d.spoil)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
}

// errCovered is that a snapshot holds what a damage is meant for: a replica that has
// one starts from it, and does not look at the log before.
var errCovered = errors.New("a snapshot holds the mark")

// spoilLog kills a replica, damages its log where a new mark is, and expects it to
// refuse that. It returns errCovered if a snapshot came before the kill.
func (s *Stage) spoilLog(r *replica, words string, spoil func(path, mark string) error) error {
	s.Helper()
	mark := s.anew("lab/the-tail") // a snapshot may hold that of an earlier play
	s.done("the mark to be written", func() fleet.Result { return s.ruledAs(s.Leader(r.Region), mark) })
	s.Until(patience, r.String()+" to have the mark", func() error { return has(r, mark) })
	var covered error
	f := &Damaged{Replica: r, Words: words, Spoil: func(dir string) error {
		if covered = snapshotHolds(dir, mark); covered != nil {
			return nil
		}
		return spoil(filepath.Join(dir, "raft", "raft.db"), mark)
	}}
	s.Break(f)
	if covered == nil {
		s.wakesOrSays(f, false)
	}
	s.Mend(f)
	s.gone(s.Leader(r.Region), []string{"policy", "delete", mark})
	return covered
}

// snapshotHolds is errCovered if a snapshot of a data directory has a mark.
func snapshotHolds(dir, mark string) error {
	for _, path := range snapshots(dir) {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(b, []byte(mark)) {
			return errCovered
		}
	}
	return nil
}

// flipMark flips the lowest bit of the last byte of a mark wherever it is in a
// file, so that every checksum-less reader finds a mark that looks as good.
func flipMark(path, mark string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte(mark)) {
		return fmt.Errorf("expected %s to hold the mark %s", path, mark)
	}
	other := []byte(mark)
	other[len(other)-1] ^= 1
	return os.WriteFile(path, bytes.ReplaceAll(b, []byte(mark), other), 0o600)
}

func damagedSnapshot(s *Stage) {
	r := pick(s, s.Followers(s.opt.Regions[0]))
	s.Until(patience, r.String()+" to have a snapshot", func() error {
		if len(snapshots(r.Dir)) == 0 {
			return errors.New("found none")
		}
		return nil
	})
	for _, d := range []struct {
		words string
		spoil func(path string) error
	}{
		{"snapshot cut short", cutShort},
		{"snapshot with flipped bits", func(path string) error { return flipped(path, 97) }},
	} {
		f := &Damaged{Replica: r, Words: d.words, Spoil: func(dir string) error { return d.spoil(snapshots(dir)[0]) }}
		s.Break(f)
		s.wakesOrSays(f, true)
		s.Mend(f)
	}
}

func oldDisk(s *Stage) {
	r := pick(s, s.Followers(s.opt.Regions[0]))
	old := r.Dir + ".old"
	f := Killed{[]*replica{r}}
	s.Break(f)
	if err := copyDir(r.Dir, old); err != nil {
		s.Fatal(err)
	}
	s.Mend(f)
	s.For(12 * time.Second)
	s.Break(f)
	if err := errors.Join(swapDir(old, r.Dir), os.RemoveAll(old)); err != nil {
		s.Fatal(err)
	}
	s.Mend(f)
}

func replaced(s *Stage) {
	r := pick(s, s.Followers(s.opt.Regions[0]))
	f := Killed{[]*replica{r}}
	s.Break(f)
	if err := os.RemoveAll(r.Dir); err != nil {
		s.Fatal(err)
	}
	sibling := s.Leader(r.Region)
	token := s.token(sibling)
	answer(func() fleet.Result { return r.Join(token) }).Fails(s, 1, "the name is taken") // until somebody says that the old one is gone
	// Which is refused as long as the third seems dead, too.
	s.Until(patience, "the lost one to be taken out", func() error {
		if left := sibling.CLI("leave", r.Name); left.Code != 0 && !strings.Contains(left.Err, "does not exist") {
			return errors.New(left.Err)
		}
		return nil
	})
	if err := r.JoinBy(token); err != nil {
		s.Fatal(err)
	}
	s.Mend(f)
	began := time.Now()
	s.Until(patience, "the new one to be a voter", func() error { return votes(sibling, r.Name, true) })
	s.Note("a voter again", time.Since(began))
}

// votes is nil if a replica says that another one is a voter, or is not.
func votes(asked *replica, name string, want bool) error {
	st, err := status(asked)
	if err != nil {
		return err
	}
	is := false
	for _, v := range st.GetRaft().GetVoters() {
		is = is || v == name
	}
	if is != want {
		return fmt.Errorf("%s: expected that %s votes: %v, found the voters %v", asked, name, want, st.GetRaft().GetVoters())
	}
	return nil
}
