package devlab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A chapter whose bounds of time were broken while agents stood still says more of
// the machine than of federator: it is told again, so often.
const maxRetold = 2

// chapter is a part of the story. undo, if it is there, has to be done before it
// can be told again.
type chapter struct {
	title      string
	tell, undo func(context.Context) error
}

// told tells a chapter, again if it has to be, with everything healed before.
func (s *Story) told(ctx context.Context, c chapter, heal func(context.Context) bool) error {
	for retold := 0; ; retold++ {
		before, err := s.standstill(ctx)
		if err != nil {
			return err
		}
		first := len(s.figures)
		err = c.tell(ctx)
		now, lost := s.standstill(ctx)
		if lost != nil || ctx.Err() != nil {
			return firstError(err, lost, ctx.Err())
		}
		stood, told := now.since(before), s.figures[first:]
		if err == nil && verdict(told) == nil {
			if stood.any() { // so that the next one does not begin with what is left of it
				heal(ctx)
			}
			return verdict(s.figures[first:])
		}
		if !again(err, told, stood, retold) {
			return firstError(err, verdict(told))
		}
		s.progress("   %s meanwhile, so that its times say nothing: it is told again", stood)
		s.retold = append(s.retold, fmt.Sprintf("%q, because %s; %s", c.title, stood, inOneLine(firstError(err, verdict(told)))))
		s.figures = s.figures[:first]
		if !heal(ctx) {
			return firstError(ctx.Err(), verdict(s.figures[first:]))
		}
		if c.undo != nil {
			if err := c.undo(ctx); err != nil {
				return err
			}
		}
	}
}

func inOneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// firstError returns the first that is not nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// again decides whether a chapter that did not go as it must is told again: somebody
// stood still meanwhile, and nothing but times is wrong. err ended the chapter, and
// retold is how often it was told again already.
func again(err error, told []figure, stood standstills, retold int) bool {
	if !stood.any() || retold >= maxRetold || err != nil && !slow(err) {
		return false
	}
	for i := range told {
		if f := &told[i]; !f.ok() && !f.slow() {
			return false
		}
	}
	return true
}

// standstills is how often agents, and the story itself, stood still.
type standstills struct{ agents, story int }

func (n standstills) any() bool { return n.agents > 0 || n.story > 0 }

func (n standstills) String() string {
	return fmt.Sprintf("agents stood still %d times and the story %d", n.agents, n.story)
}

// standing is how often everybody who lives now has stood still in this life.
type standing struct {
	agents map[*process]int
	story  int
}

// since is how often somebody stood still after a moment before. What is dead by now
// took its count with it; what was started since counts as a whole.
func (now standing) since(before standing) standstills {
	n := standstills{story: now.story - before.story}
	for p, times := range now.agents {
		n.agents += times - before.agents[p]
	}
	return n
}

// standstill asks every running agent.
func (s *Story) standstill(ctx context.Context) (standing, error) {
	now := standing{agents: map[*process]int{}, story: int(s.watch.stoodStill.Load())}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ctx, cancel := within(ctx, patience)
	defer cancel()
	for _, r := range s.Replicas {
		p := s.process(r.Name)
		if p == nil {
			continue
		}
		err := s.await(ctx, r.Name+" to tell how often it stood still", func() error {
			if !p.running() {
				return nil
			}
			times, err := pauses(ctx, client, "http://"+r.HTTP+"/metrics")
			if err == nil {
				now.agents[p] = times
			}
			return err
		})
		if err != nil {
			return now, err
		}
	}
	return now, nil
}

func pauses(ctx context.Context, client *http.Client, url string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s says %s", url, answer.Status)
	}
	return counted(answer.Body, "federator_gossip_pauses_total")
}

// counted reads a counter without labels from metrics as text.
func counted(metrics io.Reader, name string) (int, error) {
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, fmt.Errorf("metric %s: expected a number, found %q", name, value)
			}
			return int(v), nil
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("metric %s: expected it among the agent's metrics, found it is not", name)
}
