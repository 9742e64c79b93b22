package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/federator/federator/federation/catalog"
)

const (
	// alarmEvery is how often an alarm is looked at, and alarmFailures how often in
	// a row it fails until it ends the drill: one lost packet is no outage.
	alarmEvery    = 2 * time.Second
	alarmFailures = 3
	alarmTimeout  = 2 * time.Second
	// maxAlarmBody bounds what is read of an answer.
	maxAlarmBody      = 1 << 20
	maxAlarmRedirects = 3
)

// alarmDesk looks at the alarms of running drills.
type alarmDesk struct {
	client  *http.Client
	every   time.Duration
	timeout time.Duration // of one look
	log     *slog.Logger

	work    sync.WaitGroup
	mu      sync.Mutex
	watched map[string]context.CancelFunc // by drill
	bad     map[string]string             // by drill
}

func newAlarmDesk(log *slog.Logger) *alarmDesk {
	return &alarmDesk{
		every: alarmEvery, timeout: alarmTimeout, log: log, watched: map[string]context.CancelFunc{}, bad: map[string]string{},
		client: &http.Client{
			Transport: &http.Transport{MaxResponseHeaderBytes: 64 << 10, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, Proxy: http.ProxyFromEnvironment},
			CheckRedirect: func(_ *http.Request, via []*http.Request) error {
				if len(via) > maxAlarmRedirects {
					return fmt.Errorf("more than %d redirects", maxAlarmRedirects)
				}
				return nil
			},
		},
	}
}

// watch looks at the alarms of these drills from now on, and of no others.
func (d *alarmDesk) watch(ctx context.Context, alarms map[string][]catalog.Alarm) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, cancel := range d.watched {
		if _, still := alarms[id]; !still {
			cancel()
			delete(d.watched, id)
			delete(d.bad, id)
		}
	}
	for id, list := range alarms {
		if d.watched[id] != nil {
			continue
		}
		one, cancel := context.WithCancel(ctx)
		d.watched[id] = cancel
		for _, a := range list {
			d.work.Go(func() { d.look(one, id, a) })
		}
	}
}

// failing says which alarm of the drill is failing, "" if none.
func (d *alarmDesk) failing(drill string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bad[drill]
}

// close stops looking, and waits.
func (d *alarmDesk) close() {
	d.watch(context.Background(), nil)
	d.work.Wait()
	d.client.CloseIdleConnections()
}

// look asks one alarm again and again; a drill whose alarm failed stays failed.
func (d *alarmDesk) look(ctx context.Context, drill string, a catalog.Alarm) {
	failed := 0
	for {
		err := d.ask(ctx, a)
		if ctx.Err() != nil {
			return
		}
		if failed++; err == nil {
			failed = 0
		} else {
			d.log.Info("an alarm of a drill is not good", "drill", drill, "alarm", a.Name, "failures", failed, "error", err)
		}
		if failed >= alarmFailures {
			d.mu.Lock()
			if d.watched[drill] != nil && ctx.Err() == nil {
				d.bad[drill] = fmt.Sprintf("alarm %s: %v", a.Name, err)
			}
			d.mu.Unlock()
		}
		if !sleep(ctx, d.every) {
			return
		}
	}
}

// ask reports what is not good about an alarm now.
func (d *alarmDesk) ask(ctx context.Context, a catalog.Alarm) error {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	target := a.URL
	if a.Query != "" {
		base, err := url.Parse(a.Prometheus)
		if err != nil {
			return err
		}
		base = base.JoinPath("api", "v1", "query")
		base.RawQuery = url.Values{"query": {a.Query}, "timeout": {"2s"}}.Encode()
		target = base.String()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	answer, err := d.client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAlarmBody+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case answer.StatusCode < 200 || answer.StatusCode > 299:
		return fmt.Errorf("expected a status from 200 to 299, found %s", answer.Status)
	case a.Query == "":
		return nil
	case len(body) > maxAlarmBody:
		return fmt.Errorf("expected an answer of at most %d bytes", maxAlarmBody)
	}
	value, err := instantValue(body)
	if err != nil {
		return err
	}
	return inBounds(value, a.Min, a.Max)
}

// inBounds reports a value outside of its bounds; no number is within any.
func inBounds(value float64, low, high *float64) error {
	switch {
	case math.IsNaN(value):
		return errors.New("expected a number, found NaN")
	case low != nil && value < *low:
		return fmt.Errorf("expected at least %g, found %g", *low, value)
	case high != nil && value > *high:
		return fmt.Errorf("expected at most %g, found %g", *high, value)
	}
	return nil
}

// instantValue reads the one value of the answer to an instant query, a scalar or
// a vector of one.
func instantValue(body []byte) (float64, error) {
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			ResultType string          `json:"resultType"`
			Result     json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, fmt.Errorf("the answer is not that of a Prometheus: %w", err)
	}
	if answer.Status != "success" {
		return 0, fmt.Errorf("the query failed: %.200s", answer.Error)
	}
	var sample [2]any
	switch answer.Data.ResultType {
	case "scalar":
		if err := json.Unmarshal(answer.Data.Result, &sample); err != nil {
			return 0, fmt.Errorf("the answer is not that of a Prometheus: %w", err)
		}
	case "vector":
		var vector []struct {
			Value [2]any `json:"value"`
		}
		if err := json.Unmarshal(answer.Data.Result, &vector); err != nil {
			return 0, fmt.Errorf("the answer is not that of a Prometheus: %w", err)
		}
		if len(vector) != 1 {
			return 0, fmt.Errorf("expected the query to yield one value, found %d; sum it up", len(vector))
		}
		sample = vector[0].Value
	default:
		return 0, fmt.Errorf("expected a scalar or a vector of one, found %.40q", answer.Data.ResultType)
	}
	text, _ := sample[1].(string)
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("expected a number, found %.40q", text)
	}
	return value, nil
}
