package imports

import (
	"slices"
	"time"
)

// Status is how the imports of the cluster are, as this replica knows it.
type Status struct {
	// Writer: this replica writes them. Holder is the replica that does, as last seen;
	// "" if none does.
	Writer bool
	Holder string
	// Unanswered is since when the API server has not answered, zero if it does.
	// Refused is why it lets this replica neither read nor take the Lease of the writer.
	Unanswered time.Time
	Refused    string
	// What the writer counts: services that are imported, those that it leaves alone
	// until it knows more, and, in order, objects in the way that are not ours and
	// objects of ours that something else keeps changing back.
	// BehindSince is since when the first of those is left alone, zero if none is.
	Imports, Behind    int
	BehindSince        time.Time
	Foreign, Contested []string
}

// Status returns how the imports are now.
func (w *Writer) Status() Status {
	s := Status{Writer: w.Leading(), Unanswered: w.StaleSince()}
	w.contact.mu.Lock()
	s.Holder, s.Refused = w.contact.holder, w.contact.refusal
	w.contact.mu.Unlock()
	w.books.mu.Lock()
	defer w.books.mu.Unlock()
	for _, e := range w.books.services {
		s.Imports += btoi(e.imported)
		if e.behind != "" {
			s.Behind++
			if s.BehindSince.IsZero() || e.since.Before(s.BehindSince) {
				s.BehindSince = e.since
			}
		}
		s.Foreign = append(s.Foreign, separated(e.foreign)...)
		s.Contested = append(s.Contested, separated(e.contested)...)
	}
	slices.Sort(s.Foreign)
	slices.Sort(s.Contested)
	return s
}
