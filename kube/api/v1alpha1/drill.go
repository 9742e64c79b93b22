package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Drill takes traffic of one service of its namespace away from a region, a zone or a
// cluster, on purpose, for a bounded time, in every region of the federation. It
// begins when it is created, if that is safe and the regions agree; else it says why
// not, and never begins later. Deleting it ends it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=drills,scope=Namespaced,categories=federator
// +kubebuilder:printcolumn:name="Service",type=string,JSONPath=`.spec.service`
// +kubebuilder:printcolumn:name="Region",type=string,JSONPath=`.spec.scope.region`
// +kubebuilder:printcolumn:name="Zone",type=string,priority=1,JSONPath=`.spec.scope.zone`
// +kubebuilder:printcolumn:name="Cluster",type=string,priority=1,JSONPath=`.spec.scope.cluster`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Outcome",type=string,JSONPath=`.status.outcome`
// +kubebuilder:printcolumn:name="Verdict",type=string,JSONPath=`.status.verdict`
// +kubebuilder:printcolumn:name="Detail",type=string,priority=1,JSONPath=`.status.detail`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name: expected at most 63 characters, for it is told in the federation"
type Drill struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is drilled. It never changes.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a drill is what it was created as: delete it, which ends it, and create another"
	Spec DrillSpec `json:"spec"`
	// Status is how it goes and went; federator writes it.
	// +optional
	Status DrillStatus `json:"status,omitzero"`
}

// DrillList is a list of them.
//
// +kubebuilder:object:root=true
type DrillList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Drill `json:"items"`
}

// DrillSpec is what is drilled.
type DrillSpec struct {
	// Service is the name of the service, in the namespace of the drill.
	// +required
	Service Label `json:"service"`
	// Scope is where the service is taken away.
	// +required
	Scope DrillScope `json:"scope"`
	// Shape is how the drill goes over time.
	// +required
	Shape DrillShape `json:"shape"`
	// Objective is how long after the end of the ramp answers may still name the
	// scope; the verdict is by it.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) <= duration('24h')",message="expected 0s to 24h"
	Objective *Duration `json:"objective,omitempty"`
	// Reason is for the report.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Reason string `json:"reason,omitempty"`
}

// DrillScope is a region, narrowed to a zone or a cluster of it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.zone) || !has(self.cluster)",message="expected a zone or a cluster, found both"
type DrillScope struct {
	// +required
	Region Label `json:"region"`
	// +optional
	Zone Label `json:"zone,omitempty"`
	// Cluster is the name of a cluster of the region, as the federation knows it.
	// +optional
	// +kubebuilder:validation:MaxLength=127
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$`
	Cluster string `json:"cluster,omitempty"`
}

// DrillShape is how a drill goes over time: traffic leaves over the ramp, stays away
// for the hold, and comes back over the return.
//
// +kubebuilder:validation:XValidation:rule="duration(self.ramp) + duration(self.hold) + duration(self.__return__) >= duration('1s') && duration(self.ramp) + duration(self.hold) + duration(self.__return__) <= duration('24h')",message="expected ramp, hold and return to take 1s to 24h together"
type DrillShape struct {
	// +optional
	// +kubebuilder:default="0s"
	Ramp Duration `json:"ramp,omitempty"`
	// +required
	Hold Duration `json:"hold"`
	// +optional
	// +kubebuilder:default="0s"
	Return Duration `json:"return,omitempty"`
}

// DrillPhase is where a drill is.
//
// +kubebuilder:validation:Enum=Starting;Voting;Ramp;Hold;Return;Over
type DrillPhase string

// The phases, in order.
const (
	PhaseStarting DrillPhase = "Starting" // it is about to be brought into the federation
	PhaseVoting   DrillPhase = "Voting"   // the regions have not agreed yet
	PhaseRamp     DrillPhase = "Ramp"     // traffic is leaving
	PhaseHold     DrillPhase = "Hold"     // traffic is away
	PhaseReturn   DrillPhase = "Return"   // traffic is coming back
	PhaseOver     DrillPhase = "Over"     // nothing is taken away any more, or ever was
)

// DrillStatus is how a drill goes and went.
type DrillStatus struct {
	// ID is the name of the drill in the federation, for federator drill report.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	ID string `json:"id,omitempty"`
	// +optional
	Phase DrillPhase `json:"phase,omitempty"`
	// Outcome is how it ended: succeeded, stopped, aborted, interrupted, refused or
	// failed; unknown if the federation had forgotten it before that was known here.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Outcome string `json:"outcome,omitempty"`
	// Detail says why, in words.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Detail string `json:"detail,omitempty"`
	// Verdict is that of the report: passed, failed, open or unproven.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Verdict string `json:"verdict,omitempty"`
	// Lookups counts the questions for the service that were answered while it ran, in
	// all regions that have told, and FailedLookups those without an address.
	// +optional
	Lookups int64 `json:"lookups,omitempty"`
	// +optional
	FailedLookups int64 `json:"failedLookups,omitempty"`
	// Begun is when the regions had agreed, and Ended when it was over.
	// +optional
	Begun *metav1.Time `json:"begun,omitempty"`
	// +optional
	Ended *metav1.Time `json:"ended,omitempty"`
	// Regions are what each region has to say of it.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=region
	Regions []DrillRegion `json:"regions,omitempty"`
	// Conditions are Started and Complete.
	// +optional
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// DrillRegion is what one region has to say of a drill.
type DrillRegion struct {
	// +required
	Region Label `json:"region"`
	// Vote is granted, refused, or silent as long as it has not voted.
	// +required
	// +kubebuilder:validation:MaxLength=32
	Vote string `json:"vote"`
	// Reason says why it refused.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Reason string `json:"reason,omitempty"`
	// Verdict is the report's of this region.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Verdict string `json:"verdict,omitempty"`
}

// The types of the conditions of a Drill.
const (
	// DrillStarted: the regions agreed, and it began.
	DrillStarted = "Started"
	// DrillComplete: it is over, and its status stays as it is.
	DrillComplete = "Complete"
)

// The reasons of the conditions of a Drill, besides its phase and its outcome.
const (
	ReasonUnsafe = "Unsafe" // its plan would break something
	ReasonMissed = "Missed" // it could not be brought into the federation in time
	ReasonTaken  = "Taken"  // another drill is in its way
	ReasonGone   = "Gone"   // the federation has forgotten it
	// ReasonCollecting: it is over, and the regions are still telling what they answered.
	ReasonCollecting = "Collecting"
)
