package verdict

import "time"

const (
	bucketSpan = 100 * time.Millisecond
	buckets    = 32
)

// MaxWindow is the longest span that a [Window] can sum.
const MaxWindow = (buckets - 1) * bucketSpan

// Window counts echoes sent and answered over the last few seconds, in steps of
// 100 ms. The zero value is empty and ready. It is not safe for concurrent use.
type Window struct {
	head  int64 // number of the newest bucket
	count [buckets]struct{ sent, answered uint16 }
}

// Send counts an echo sent at now.
func (w *Window) Send(now time.Duration) {
	w.advance(now)
	w.count[w.head%buckets].sent++
}

// Answer counts an echo answered at now.
func (w *Window) Answer(now time.Duration) {
	w.advance(now)
	w.count[w.head%buckets].answered++
}

// Sum returns what was counted in the span before now, to the step.
func (w *Window) Sum(now, span time.Duration) (sent, answered int) {
	first := max(bucketOf(now-span), w.head-buckets+1, 0)
	for b := first; b <= w.head; b++ {
		c := w.count[b%buckets]
		sent += int(c.sent)
		answered += int(c.answered)
	}
	return sent, answered
}

func (w *Window) advance(now time.Duration) {
	to := bucketOf(now)
	if to-w.head >= buckets {
		*w = Window{head: to}
		return
	}
	for w.head < to {
		w.head++
		w.count[w.head%buckets] = struct{ sent, answered uint16 }{}
	}
}

func bucketOf(at time.Duration) int64 { return int64(max(at, 0) / bucketSpan) }

// SentSince counts what was sent to a region since its last evidence, or within
// the last [Rules.Back] if that is less.
func (r Rules) SentSince(w *Window, now, evidence time.Duration) int {
	sent, _ := w.Sum(now, min(now-evidence, r.Back))
	return sent
}

// ShareSince is [Rules.SentSince] for a sibling, of which only the count within
// the last [Rules.Back] is known: it sends at an even pace.
func (r Rules) ShareSince(backSent int, now, evidence time.Duration) int {
	return backSent * int(min(max(now-evidence, 0), r.Back)/time.Millisecond) / int(r.Back/time.Millisecond)
}
