package devlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const late = tooLate("30s have passed")

func TestAChapterIsToldAgainOnlyIfNothingButTimesIsWrongAndSomebodyStoodStill(t *testing.T) {
	good := figure{what: "good", took: time.Second, bound: 2 * time.Second}
	tooSlow := figure{what: "too slow", took: 3 * time.Second, bound: 2 * time.Second}
	timedOut := figure{what: "timed out", err: fmt.Errorf("1 of 12000 failed: %w", &net.DNSError{IsTimeout: true})}
	servfail := figure{what: "servfail", err: fmt.Errorf("1 of 12000 failed: %w", badAnswer("SERVFAIL"))}
	refused := figure{what: "refused", err: refusal("no majority")}
	agent, own := standstills{agents: 1}, standstills{story: 1}
	for _, tc := range []struct {
		name   string
		err    error
		told   []figure
		stood  standstills
		retold int
		want   bool
	}{
		{"late, and agents stood still", nil, []figure{good, tooSlow}, agent, 0, true},
		{"late, and the story stood still", nil, []figure{tooSlow}, own, 0, true},
		{"a lookup without an answer in time", nil, []figure{timedOut, good}, agent, 1, true},
		{"what ended it took too long", late, []figure{good}, agent, 0, true},
		{"nobody stood still", nil, []figure{tooSlow, timedOut}, standstills{}, 0, false},
		{"told often enough", nil, []figure{tooSlow}, agent, maxRetold, false},
		{"an answer that is none", nil, []figure{tooSlow, servfail}, agent, 0, false},
		{"a drill that was refused", nil, []figure{refused}, agent, 0, false},
		{"a command that failed", errors.New("exit status 1"), []figure{good}, agent, 0, false},
		{"too late, but at last an answer that is none", fmt.Errorf("%w; last: %w", late, badAnswer("SERVFAIL")), nil, agent, 0, false},
	} {
		if got := again(tc.err, tc.told, tc.stood, tc.retold); got != tc.want {
			t.Errorf("%s: told again: %v", tc.name, got)
		}
	}
}

func TestWhatIsToldAgainCountsOnlyAsItWasToldLast(t *testing.T) {
	bad, slowly, fine := figure{err: badAnswer("SERVFAIL")}, figure{err: late}, figure{note: "fine"}
	for _, tc := range []struct {
		name   string
		tales  []figure // of one time after the other
		stalls []int64
		told   int
		healed int
		ok     bool
	}{
		{"goes well at once", []figure{fine}, []int64{0}, 1, 0, true},
		{"goes well although it stood still", []figure{fine}, []int64{1}, 1, 1, true},
		{"goes well the second time", []figure{slowly, fine}, []int64{1, 0}, 2, 1, true},
		{"goes well the third time", []figure{slowly, slowly, fine}, []int64{1, 2, 0}, 3, 2, true},
		{"never goes well", []figure{slowly, slowly, slowly}, []int64{1, 1, 1}, 3, 2, false},
		{"is slow by itself the second time", []figure{slowly, slowly}, []int64{1, 0}, 2, 1, false},
		{"is slow by itself", []figure{slowly}, []int64{0}, 1, 0, false},
		{"is wrong", []figure{bad}, []int64{1}, 1, 0, false},
	} {
		s := simulated()
		s.figures = []figure{{what: "of a chapter before", note: "fine"}}
		told, healed, undone := 0, 0, 0
		err := s.told(t.Context(), chapter{title: "x",
			tell: func(context.Context) error {
				s.watch.stoodStill.Add(tc.stalls[told])
				s.record(tc.tales[told])
				told++
				return nil
			},
			undo: func(context.Context) error { undone++; return nil },
		}, func(context.Context) bool { healed++; return true })
		if (err == nil) != tc.ok || told != tc.told || healed != tc.healed || undone != tc.told-1 || len(s.retold) != tc.told-1 {
			t.Errorf("%s: told %d times, healed %d, undone %d, said %q: %v", tc.name, told, healed, undone, s.retold, err)
		}
		if len(s.figures) != 2 || s.figures[1].found() != tc.tales[told-1].found() {
			t.Errorf("%s: expected the figures of the last time only, found %+v", tc.name, s.figures)
		}
	}
}

func TestAFederationThatDoesNotHealEndsTheStory(t *testing.T) {
	s := simulated()
	told := 0
	err := s.told(t.Context(), chapter{title: "x", tell: func(context.Context) error {
		told++
		s.watch.stoodStill.Add(1)
		s.record(figure{err: late})
		return nil
	}}, func(context.Context) bool {
		s.record(figure{what: "whole again", err: errEnded})
		return false
	})
	if told != 1 || err == nil || !strings.Contains(err.Error(), "whole again: expected without exception, found "+errEnded.Error()) {
		t.Errorf("told %d times: %v", told, err)
	}
}

func TestStandstillsAreCountedOfWhoeverLives(t *testing.T) {
	stays, killed, started := &process{}, &process{}, &process{}
	before := standing{agents: map[*process]int{stays: 3, killed: 7}, story: 1}
	now := standing{agents: map[*process]int{stays: 5, started: 1}, story: 4}
	if got := now.since(before); got != (standstills{agents: 3, story: 3}) {
		t.Errorf("found %v", got)
	}
	if now.since(now).any() {
		t.Error("expected none at the same moment")
	}
}

func TestAnAgentTellsHowOftenItStoodStill(t *testing.T) {
	body := ""
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
	defer agent.Close()
	for _, tc := range []struct {
		body string
		want int
		ok   bool
	}{
		{"# HELP federator_gossip_pauses_total Times.\n# TYPE federator_gossip_pauses_total counter\nfederator_gossip_pauses_total 12\n", 12, true},
		{"federator_gossip_pauses_total 1.2e+06\n", 1200000, true},
		{"federator_gossip_pauses_total x\n", 0, false},
		{"federator_gossip_pauses_total_more 1\n", 0, false},
	} {
		body = tc.body
		if got, err := pauses(t.Context(), agent.Client(), agent.URL); got != tc.want || (err == nil) != tc.ok {
			t.Errorf("%q: found %d, %v", tc.body, got, err)
		}
	}
	if _, err := pauses(t.Context(), agent.Client(), agent.URL+"/\x7f"); err == nil {
		t.Error("expected an error of an agent that cannot be asked")
	}
}

func TestTheStoryNoticesThatItStoodStillItself(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	watch := &Watch{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watch.attend(ctx)
	}()
	self := strconv.Itoa(os.Getpid())
	for deadline := time.Now().Add(60 * time.Second); watch.stoodStill.Load() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("expected the story to notice that it stood still, found that it did not")
		}
		// It may not have begun to look yet, or not looked since: then it is stopped again.
		if err := exec.Command("sh", "-c", "kill -STOP "+self+"; sleep 0.6; kill -CONT "+self).Run(); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	<-ended
}

// nameserver answers with what a test says, or not at all if that is nil.
func nameserver(t *testing.T, answer func(*dns.Msg) *dns.Msg) string {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		if m := answer(question); m != nil {
			_ = w.WriteMsg(m)
		}
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.ActivateAndServe()
	}()
	t.Cleanup(func() {
		_ = socket.Close()
		<-ended
	})
	return socket.LocalAddr().String()
}

func TestALookupIsRepeatedUntilItIsAnsweredButNoBadAnswerIs(t *testing.T) {
	s, asked := simulated(), atomic.Int64{}
	silentAtFirst := nameserver(t, func(question *dns.Msg) *dns.Msg {
		if asked.Add(1) == 1 {
			return nil
		}
		rr, err := dns.NewRR(question.Question[0].Name + " 5 IN A 127.10.1.1")
		if err != nil {
			t.Error(err)
		}
		answer := new(dns.Msg).SetReply(question)
		answer.Answer = []dns.RR{rr}
		return answer
	})
	if _, err := ask(t.Context(), silentAtFirst, name("checkout", s.Lab)); !slow(err) {
		t.Errorf("expected a lookup without an answer to be slow, found %v", err)
	}
	asked.Store(0)
	got, err := s.resolve(t.Context(), &Replica{Name: "a", DNS: silentAtFirst}, "checkout")
	if err != nil || !slices.Equal(got, []string{"127.10.1.1"}) || asked.Load() < 2 {
		t.Errorf("found %v after %d questions: %v", got, asked.Load(), err)
	}
	failed := atomic.Int64{}
	failing := nameserver(t, func(question *dns.Msg) *dns.Msg {
		failed.Add(1)
		return new(dns.Msg).SetRcode(question, dns.RcodeServerFailure)
	})
	_, err = s.resolve(t.Context(), &Replica{Name: "b", DNS: failing}, "checkout")
	if err == nil || slow(err) || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("expected SERVFAIL, which is not a matter of time, found %v", err)
	}
}

func TestOneBadAnswerAmongManyLateOnesIsWhatCounts(t *testing.T) {
	s := simulated()
	start := time.Now()
	s.answer("catalog", all, late)
	s.unharmed(start, "only late")
	recent := s.stillSeen(start, "only late")
	s.answer("catalog", only("asia-east-1"), badAnswer("SERVFAIL"))
	s.answer("catalog", all, late)
	s.unharmed(start, "a bad one")
	if f := &s.figures[0]; f.ok() || !f.slow() {
		t.Errorf("expected lookups that were late to be a matter of time, found %s", f.found())
	}
	if f := &s.figures[1]; f.ok() || f.slow() || !strings.Contains(f.found(), "asia-east-1: SERVFAIL") {
		t.Errorf("expected the bad answer to count, found %s", f.found())
	}
	if recent.ok() || !recent.slow() {
		t.Errorf("expected lookups that were late to be a matter of time, found %s", recent.found())
	}
	s.answer("catalog", only("eu-central-0"), nil, "127.10.2.11")
	if f := s.stillSeen(start, "without"); f.ok() || f.slow() {
		t.Errorf("expected an answer without the victim to count, found %s", f.found())
	}
}

// commandLine is a lab whose federator is a script.
func commandLine(t *testing.T, script string) *Story {
	t.Helper()
	s := simulated()
	s.starter = newStarter()
	t.Cleanup(s.starter.close)
	s.binary = filepath.Join(t.TempDir(), "federator")
	if err := os.WriteFile(s.binary, []byte("#!/bin/sh\ncd "+filepath.Dir(s.binary)+"\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestADrillThatIsRefusedIsTriedAgainUnderAnotherNameAFewTimes(t *testing.T) {
	const (
		passed  = `case "$2" in report) echo '{"verdict":"passed","outcome":"succeeded","begun":"2026-01-01T00:00:00Z"}';; esac`
		refused = `case "$2" in report) echo '{"verdict":"open","outcome":"refused","detail":"no word from us-west"}';; esac`
		unsafe  = `case "$2" in start) echo 'federator: the plan of this drill is unsafe: us-west: silent' >&2; exit 1;; esac`
		noPlan  = `case "$2" in plan) echo 'UNSAFE'; exit 3;; esac`
		broken  = `case "$2" in start) echo 'federator: no such thing' >&2; exit 1;; esac`
		then    = "\n[ -e healed ] || { %s\nexit; }\n%s"
	)
	for _, tc := range []struct {
		name, script string
		id, fails    string
		healed       int
	}{
		{"granted", passed, "story-1", "", 0},
		{"refused once", fmt.Sprintf(then, refused, passed), "story-2", "", 1},
		{"unsafe once", fmt.Sprintf(then, unsafe+"\n"+passed, passed), "story-2", "", 1},
		{"unsafe by its plan once", fmt.Sprintf(then, noPlan+"\n"+passed, passed), "story-2", "", 1},
		{"always refused", refused, "", "it did not begin: refused: no word from us-west", maxRefusals},
		{"broken", broken, "", "no such thing", 0},
	} {
		s := commandLine(t, tc.script)
		healed := 0
		report, err := s.drill(t.Context(), "/dir/socket", func(context.Context) bool {
			healed++
			if err := os.WriteFile(filepath.Join(filepath.Dir(s.binary), "healed"), nil, 0o600); err != nil {
				t.Error(err)
			}
			return true
		})
		switch {
		case tc.fails == "" && (err != nil || report.id != tc.id || report.start.IsZero()):
			t.Errorf("%s: expected %s to run, found %+v, %v", tc.name, tc.id, report, err)
		case tc.fails != "" && (err == nil || !strings.Contains(err.Error(), tc.fails)):
			t.Errorf("%s: expected %q, found %v", tc.name, tc.fails, err)
		}
		if healed != tc.healed || s.drills != tc.healed+1 {
			t.Errorf("%s: healed %d times, begun %d", tc.name, healed, s.drills)
		}
	}
}

func TestADrillIsToldWhenNothingMoreIsToCome(t *testing.T) {
	begun := time.Now()
	for _, tc := range []struct {
		d    drilled
		told bool
	}{
		{drilled{Verdict: "open"}, false},
		{drilled{Verdict: "open", Begun: begun}, false},
		{drilled{Verdict: "open", Outcome: "refused"}, true},
		{drilled{Verdict: "unproven", Outcome: "succeeded", Begun: begun}, false},
		{drilled{Verdict: "passed", Outcome: "succeeded", Begun: begun}, true},
		{drilled{Verdict: "failed", Outcome: "aborted", Begun: begun}, true},
	} {
		if got := tc.d.told(); got != tc.told {
			t.Errorf("%+v: told: %v", tc.d, got)
		}
	}
}

func TestADrillsReportIsAMatterOfTimeOnlyIfNoLookupFailed(t *testing.T) {
	report := func(verdict, outcome string, lookups, failed, late uint64) *drilled {
		d := &drilled{Verdict: verdict, Outcome: outcome}
		d.Totals.Lookups, d.Totals.Failed, d.Totals.Late = lookups, failed, late
		return d
	}
	for _, tc := range []struct {
		d        *drilled
		ok, slow bool
	}{
		{report("passed", "succeeded", 9, 0, 0), true, false},
		{report("failed", "succeeded", 9, 0, 1), false, true},
		{report("failed", "aborted", 9, 0, 0), false, true},
		{report("failed", "succeeded", 9, 1, 1), false, false},
		{report("failed", "stopped", 9, 0, 0), false, false},
		{report("passed", "succeeded", 0, 0, 0), false, false},
	} {
		if f := tc.d.figure(); f.ok() != tc.ok || f.slow() != tc.slow {
			t.Errorf("%+v: ok %v, slow %v", tc.d, f.ok(), f.slow())
		}
	}
}
