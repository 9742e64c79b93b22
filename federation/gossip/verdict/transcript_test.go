package verdict_test

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/federator/federator/federation/gossip/verdict"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the transcripts in testdata")

// A transcript is a list of commands, each followed by what it printed:
//
//	regions NAME...          begin to observe these regions at 0s
//	sibling on|off           whether a sibling gives evidence all the time
//	answers REGION on|off    whether a region answers
//	sends N                  echoes a second to each region (15)
//	synced REGION on|off     whether its replication stream has caught up
//	pause D                  the observer stands still
//	run D                    time passes; verdicts are reached every 100 ms
//
// run prints every change of a verdict with its moment.
type script struct {
	now, paused time.Duration
	sibling     bool
	rate        int
	names       []string
	regions     map[string]*scripted
	states      []verdict.State
	isolated    bool
}

type scripted struct {
	answers, synced bool
	window          verdict.Window
	evidence        time.Duration
}

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, want)
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("the transcript differs (-rewrite accepts it):\n%s", diff)
			}
		})
	}
}

// play replays the commands of a transcript and returns it with new output.
func play(t *testing.T, transcript []byte) []byte {
	var out bytes.Buffer
	s := &script{rate: 15, regions: map[string]*scripted{}}
	lines := bufio.NewScanner(bytes.NewReader(transcript))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "  ") {
			continue // old output
		}
		fmt.Fprintln(&out, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := s.do(&out, strings.Fields(line)); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	return out.Bytes()
}

func (s *script) do(out *bytes.Buffer, args []string) error {
	on := args[len(args)-1] == "on"
	switch args[0] {
	case "regions":
		for _, name := range args[1:] {
			s.names = append(s.names, name)
			s.regions[name] = &scripted{answers: true, synced: true}
		}
		s.states = make([]verdict.State, len(s.names))
	case "sibling":
		s.sibling = on
	case "answers":
		s.regions[args[1]].answers = on
	case "synced":
		s.regions[args[1]].synced = on
	case "sends":
		_, err := fmt.Sscan(args[1], &s.rate)
		return err
	case "pause", "run":
		d, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		if args[0] == "run" {
			s.run(out, s.now+d)
			return nil
		}
		s.now += d
		s.paused = s.now
	default:
		return fmt.Errorf("unknown command")
	}
	return nil
}

func (s *script) run(out *bytes.Buffer, end time.Duration) {
	const step = 100 * time.Millisecond
	for s.now < end {
		before := int(s.now * time.Duration(s.rate) / time.Second)
		s.now += step
		for range int(s.now*time.Duration(s.rate)/time.Second) - before {
			s.echo()
		}
		s.judge(out)
	}
}

func (s *script) echo() {
	for _, name := range s.names {
		r := s.regions[name]
		r.window.Send(s.now)
		if r.answers {
			r.window.Answer(s.now)
			r.evidence = s.now
		}
	}
}

func (s *script) judge(out *bytes.Buffer) {
	rules := verdict.Standard()
	o := verdict.Observer{Now: s.now, Paused: s.paused, Sibling: verdict.Never}
	if s.sibling {
		o.Sibling = s.now
	}
	links := make([]verdict.Link, len(s.names))
	for i, name := range s.names {
		r := s.regions[name]
		links[i] = verdict.Link{Evidence: r.evidence, Synced: r.synced, Sent: rules.SentSince(&r.window, s.now, r.evidence)}
		links[i].BackSent, links[i].BackAnswered = r.window.Sum(s.now, rules.Back)
	}
	before := slices.Clone(s.states)
	var isolated bool
	s.states, isolated = rules.Judge(o, links, s.states)
	for i, name := range s.names {
		if s.states[i].Silent != before[i].Silent {
			fmt.Fprintf(out, "  %v %s %s\n", s.now, name, map[bool]string{true: "silent", false: "back"}[s.states[i].Silent])
		}
	}
	if isolated != s.isolated {
		s.isolated = isolated
		fmt.Fprintf(out, "  %v %s\n", s.now, map[bool]string{true: "isolated", false: "no longer isolated"}[isolated])
	}
}
