package drill

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser starts a headless Chromium; where there is none the test is skipped,
// but fails in the lab, where everything must run.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	switch {
	case path == "" && os.Getenv("FEDERATOR_LAB") == "1":
		t.Fatal("expected Chromium in PATH, found none: install the package chromium")
	case path == "":
		t.Skip("no Chromium in PATH: install the package chromium to look at the page")
	}
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(time.Minute))
	ctx, stop := chromedp.NewExecAllocator(t.Context(), flags...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	must(t, chromedp.Do(ctx)) // the first use starts it, for as long as its context lives
	ctx, late := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(late)
	return ctx
}

// overheard is what a browser says of a page.
type overheard struct {
	mu       sync.Mutex
	errors   []string
	requests []string
}

func (o *overheard) listen(ctx context.Context) error {
	return chromedp.Listen(ctx, func(event any) {
		o.mu.Lock()
		defer o.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventConsoleAPICalled:
			o.errors = append(o.errors, "console: "+string(e.Type))
		case *runtime.EventExceptionThrown:
			o.errors = append(o.errors, e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			o.errors = append(o.errors, e.Entry.Text)
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, "data:") {
				o.requests = append(o.requests, e.Request.URL)
			}
		}
	})
}

// seen is what the page looks like.
type seen struct {
	Title     string
	Verdict   string
	Headings  []string
	Charts    map[string]plot
	Overflow  []string
	Clipped   []string
	Ground    string
	Contrasts float64
	Scripts   int
	Alerts    int
}

type plot struct {
	Width, Height float64
	Series        []int
	Bars          int
	Label         string
}

// look runs in the page: what is there, how large, and what does not fit.
const look = `(() => {
  const rgb = s => s.match(/[\d.]+/g).slice(0, 3).map(Number);
  const light = s => { const [r, g, b] = rgb(s).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = el => { for (; el; el = el.parentElement) { const c = getComputedStyle(el).backgroundColor; if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'rgb(255, 255, 255)'; };
  let contrast = 21;
  for (const el of document.querySelectorAll('h1, h2, h3, p, li, dt, dd, td, th, small, span, b, svg text')) {
    if (!el.textContent.trim()) continue;
    const style = getComputedStyle(el);
    const a = light(el instanceof SVGElement ? style.fill : style.color), b = light(ground(el));
    contrast = Math.min(contrast, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
  }
  const charts = {};
  for (const svg of document.querySelectorAll('svg')) {
    const box = svg.getBoundingClientRect();
    charts[svg.id] = {Width: box.width, Height: box.height, Label: svg.getAttribute('aria-label'), Bars: svg.querySelectorAll('rect[class^=phase], rect.failure').length,
      Series: [...svg.querySelectorAll('polyline')].map(l => l.points.numberOfItems === Number(l.dataset.points) && l.getBoundingClientRect().width > 0 ? l.points.numberOfItems : -1)};
  }
  const clipped = [];
  for (const svg of document.querySelectorAll('svg')) {
    const out = svg.getBoundingClientRect();
    for (const el of svg.querySelectorAll('text')) {
      const box = el.getBoundingClientRect();
      if (box.left < out.left - 1 || box.right > out.right + 1 || box.top < out.top - 1 || box.bottom > out.bottom + 1) clipped.push(svg.id + ': ' + el.textContent);
    }
  }
  const overflow = [...document.querySelectorAll('body, main, section, .tiles li, dd, .verdict')].filter(el => el.scrollWidth > el.clientWidth + 1).map(el => el.tagName + ' ' + el.className);
  return {Title: document.title, Verdict: document.querySelector('#verdict strong').textContent, Headings: [...document.querySelectorAll('h1, h2')].map(h => h.textContent),
    Charts: charts, Overflow: overflow, Clipped: clipped, Ground: getComputedStyle(document.body).backgroundColor, Contrasts: contrast, Scripts: document.scripts.length};
})()`

func TestThePageIsAsItShouldBeInARealBrowser(t *testing.T) {
	ctx := browser(t)
	for _, tt := range []struct {
		name           string
		story          Story
		verdict        Verdict
		charts         []string
		scheme, ground string
		width          int64
	}{
		{"passed", practised(), Passed, []string{"answers-asia-east", "answers-eu-central", "answers-us-west"}, "light", "rgb(246, 246, 243)", 1280},
		{"passed", practised(), Passed, []string{"answers-asia-east", "answers-eu-central", "answers-us-west"}, "dark", "rgb(17, 19, 23)", 1280},
		{"failed", spoiled(), Failed, []string{"answers-asia-east", "answers-us-west"}, "light", "rgb(246, 246, 243)", 1280},
		{"failed", spoiled(), Failed, []string{"answers-asia-east", "answers-us-west"}, "dark", "rgb(17, 19, 23)", 420},
	} {
		t.Run(fmt.Sprint(tt.name, " ", tt.scheme, " ", tt.width), func(t *testing.T) {
			tab, cancel := chromedp.NewContext(ctx)
			defer cancel()
			url, asked := serve(t, MakeReport(tt.story))
			var heard overheard
			must(t, heard.listen(tab))
			must(t, prepare(tab, tt.scheme))
			must(t, chromedp.Do(tab, chromedp.EmulateViewport(tt.width, 900), chromedp.Navigate(url)))
			got, err := chromedp.Run(tab, chromedp.Evaluate[seen](look))
			must(t, err)
			shot, err := chromedp.Run(tab, chromedp.FullScreenshot(100))
			must(t, err)
			heard.mu.Lock()
			defer heard.mu.Unlock()
			requests := append(asked(), heard.requests...)
			if len(heard.errors) > 0 || len(requests) != 2 || strings.Join(requests, " ") != "/ "+url {
				t.Errorf("errors %q, requests %q", heard.errors, requests)
			}
			got.check(t, MakeReport(tt.story), tt.verdict, tt.charts)
			if got.Ground != tt.ground {
				t.Errorf("expected the ground %s in %s, found %s", tt.ground, tt.scheme, got.Ground)
			}
			keep(t, fmt.Sprintf("drill-report-%s-%s-%d.png", tt.name, tt.scheme, tt.width), shot)
		})
	}
}

// prepare makes a tab tell what it does, and prefer a colour scheme.
func prepare(tab context.Context, scheme string) error {
	if _, err := chromedp.Call(tab, network.Enable, network.EnableParams{}); err != nil {
		return err
	}
	if _, err := chromedp.Call(tab, log.Enable, cdp.Empty{}); err != nil {
		return err
	}
	_, err := chromedp.Call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	return err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve serves the page and returns its address, and which paths were asked for;
// the data: icon keeps the browser from asking for another.
func serve(t *testing.T, r Report) (url string, asked func() []string) {
	t.Helper()
	var page bytes.Buffer
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var paths []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		paths = append(paths, r.URL.Path)
		_, _ = w.Write(page.Bytes())
	}))
	t.Cleanup(server.Close)
	return server.URL + "/", func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), paths...)
	}
}

// check compares what the browser saw with the report.
func (s *seen) check(t *testing.T, r Report, verdict Verdict, answers []string) {
	t.Helper()
	if s.Verdict != string(verdict) || s.Title != "Drill "+r.ID+": "+string(verdict) {
		t.Errorf("expected the verdict %s, found %q under the title %q", verdict, s.Verdict, s.Title)
	}
	want := []string{r.ID, "What was practised", "When each region shifted", "Which region the answers named", "Answers that named us-west", "Time to answer, inside the replica", "Region by region", "What happened"}
	if strings.Join(s.Headings, "|") != strings.Join(want, "|") {
		t.Errorf("expected the headings %q, found %q", want, s.Headings)
	}
	series := map[string]int{"timeline": 0, "named": len(answers), "latency": 2 * len(answers)}
	for _, id := range answers {
		series[id] = 3
	}
	if len(s.Charts) != len(series) {
		t.Errorf("expected %d charts, found %d", len(series), len(s.Charts))
	}
	for id, n := range series {
		c := s.Charts[id]
		if c.Width < 300 || c.Height < 40 || c.Label == "" || len(c.Series) != n {
			t.Errorf("chart %s: expected a size, a label and %d series, found %+v", id, n, c)
		}
		for _, points := range c.Series {
			if points != 90 {
				t.Errorf("chart %s: expected 90 points in each series, found %v", id, c.Series)
			}
		}
	}
	bars := 0
	for _, g := range r.Regions {
		bars += len(g.Acks) - 1
	}
	if s.Charts["timeline"].Bars != bars {
		t.Errorf("expected %d bars in the timeline, found %d", bars, s.Charts["timeline"].Bars)
	}
	if len(s.Overflow) > 0 || len(s.Clipped) > 0 {
		t.Errorf("does not fit: %q, %q", s.Overflow, s.Clipped)
	}
	if s.Contrasts < 4.5 {
		t.Errorf("expected all text to stand out by 4.5 or more (WCAG AA), found %.2f", s.Contrasts)
	}
	if s.Scripts > 0 {
		t.Errorf("found %d scripts", s.Scripts)
	}
}

// keep writes a picture where people can look at it.
func keep(t *testing.T, name string, png []byte) {
	t.Helper()
	dir := os.Getenv("FEDERATOR_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	if err := os.WriteFile(filepath.Join(dir, name), png, 0o600); err != nil {
		t.Fatal(err)
	}
	if len(png) < 10_000 {
		t.Errorf("the picture has %d bytes only", len(png))
	}
}
