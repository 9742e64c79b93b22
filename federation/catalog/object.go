package catalog

import (
	"encoding/json"
	"time"
)

// ObjectKind tells what the Spec of an [Object] holds.
type ObjectKind string

// The kinds of last-writer-wins objects.
const (
	KindPolicy     ObjectKind = "policy"     // Spec is a [Policy]
	KindEvacuation ObjectKind = "evacuation" // Spec is an [Evacuation]
	KindOperator   ObjectKind = "operator"   // Spec is an [Operator]
	KindExportRule ObjectKind = "exportrule" // Spec is an [ExportRule]
)

// MaxSpec bounds the spec of an object, in bytes of JSON: what regions take of each
// other, and so what each of them writes.
const MaxSpec = 64 << 10

// ObjectKey identifies an object across the federation.
type ObjectKey struct {
	Kind ObjectKind `json:"kind"`
	Name string     `json:"name"`
}

// String returns "kind/name".
func (k ObjectKey) String() string { return string(k.Kind) + "/" + k.Name }

// Object is a federation-wide fact that any region may write; the last writer
// wins by [ObjectVersion]. A deletion is an object with Deleted set, kept until
// every region has acknowledged it.
type Object struct {
	ObjectKey
	Version ObjectVersion   `json:"version"`
	Spec    json.RawMessage `json:"spec,omitempty"`
	Deleted bool            `json:"deleted,omitempty"`
	// Acks names the regions that hold this version; kept for tombstones only.
	Acks []string `json:"acks,omitempty"`
	// Actor made the change, for the audit trail.
	Actor string `json:"actor"`
}

// DefaultPolicy is the name of the policy that applies to services without one
// of their own. A service's own policy is named "namespace/name".
const DefaultPolicy = "default"

// Policy is what an operator says about resolution. The zero value of a field
// means the built-in default.
type Policy struct {
	// RegionOrder ranks the regions after the client's own; regions it does not
	// name follow by measured round-trip time.
	RegionOrder []string `json:"regionOrder,omitempty"`
	// RegionOrderFrom overrides RegionOrder for clients in the named region.
	RegionOrderFrom map[string][]string `json:"regionOrderFrom,omitempty"`
	// Weights gives localities ("region" or "region/zone") a relative weight, 0 to
	// 1000000. Regions with a weight share one priority instead of being ranked, and
	// a zone that is not named beside others of its region has 1.
	Weights map[string]uint32 `json:"weights,omitempty"`
	// OverprovisioningPercent sets the spill-over threshold: a priority keeps all
	// its traffic while healthy * this / 100 covers it. 100 to 1000, default 140.
	OverprovisioningPercent uint32 `json:"overprovisioningPercent,omitempty"`
	// PanicThresholdPercent: below this share of available endpoints health is
	// ignored. 0 to 100, default 50; a pointer because 0 turns panic off.
	PanicThresholdPercent *uint32 `json:"panicThresholdPercent,omitempty"`
	// FailoverRegions, when set, lists the only regions that may serve.
	FailoverRegions []string `json:"failoverRegions,omitempty"`
	// Ramp is over how long returning capacity takes its share back, up to 10
	// minutes; nil means the default.
	Ramp *Duration `json:"ramp,omitempty"`
	// Safety is what must remain of the service during drills and evacuations.
	Safety *Safety `json:"safety,omitempty"`
}

// Evacuation takes a region out of every resolution at once. It needs no vote
// and always ends: at Until by the wall clock, or Duration after a replica first
// learned of it, whichever comes first.
type Evacuation struct {
	Region   string    `json:"region"`
	Started  time.Time `json:"started"`
	Duration Duration  `json:"duration"`
	Reason   string    `json:"reason,omitempty"`
	// Forced: safety rules do not hold it up; that nothing must be emptied still does.
	Forced bool `json:"forced,omitempty"`
}

// Until is when the evacuation ends by the wall clock of the region it began in.
func (e Evacuation) Until() time.Time { return e.Started.Add(time.Duration(e.Duration)) }

// Role is what an operator may do; each includes the ones before it.
type Role string

// The roles.
const (
	RoleViewer   Role = "viewer"
	RoleOperator Role = "operator"
	RoleAdmin    Role = "admin"
)

// Operator grants a role to the holder of spiffe://TD/operator/NAME.
type Operator struct {
	Role Role `json:"role"`
}

// Duration is a time.Duration that reads and writes as "10m30s".
type Duration time.Duration

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads a duration such as "10m30s".
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}
