package catalog

import (
	"cmp"
	"fmt"
	"strings"
)

// Version orders the states of one region. Epoch is issued by the authority
// region and rises whenever the region is founded, restored or recovered; Seq
// counts the changes the region exported within the epoch. The zero Version is
// older than every real one.
type Version struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// Compare orders versions by epoch, then by seq.
func (v Version) Compare(o Version) int {
	return cmp.Or(cmp.Compare(v.Epoch, o.Epoch), cmp.Compare(v.Seq, o.Seq))
}

// String returns "epoch.seq".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Epoch, v.Seq) }

// HealthVersion orders the health changes of one cluster. Epoch is the epoch of
// the owning region, Term rises with every change of the replica that owns the
// cluster's health, and Seq counts flips within the term.
type HealthVersion struct {
	Epoch uint64 `json:"epoch"`
	Term  uint64 `json:"term"`
	Seq   uint64 `json:"seq"`
}

// Compare orders health versions by epoch, term and seq.
func (v HealthVersion) Compare(o HealthVersion) int {
	return cmp.Or(cmp.Compare(v.Epoch, o.Epoch), cmp.Compare(v.Term, o.Term), cmp.Compare(v.Seq, o.Seq))
}

// String returns "epoch.term.seq".
func (v HealthVersion) String() string { return fmt.Sprintf("%d.%d.%d", v.Epoch, v.Term, v.Seq) }

// ObjectVersion orders the writes of a last-writer-wins object: the highest
// generation wins, then the latest hybrid logical clock, then the region name.
type ObjectVersion struct {
	// Generation is one more than the highest the writer had seen.
	Generation uint64 `json:"generation"`
	// HLC is the writer's hybrid logical clock in nanoseconds since the Unix epoch.
	HLC int64 `json:"hlc"`
	// Region is where the write was made; it breaks ties.
	Region string `json:"region"`
}

// Compare orders object versions; see [ObjectVersion].
func (v ObjectVersion) Compare(o ObjectVersion) int {
	return cmp.Or(cmp.Compare(v.Generation, o.Generation), cmp.Compare(v.HLC, o.HLC), strings.Compare(v.Region, o.Region))
}
