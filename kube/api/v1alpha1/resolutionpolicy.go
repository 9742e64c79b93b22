package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ResolutionPolicy says how one service of its namespace is resolved, in every
// region of the federation. Of several about one service, of whichever clusters, the
// oldest counts; an operator's policy for the service comes before all of them.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=resolutionpolicies,scope=Namespaced,shortName=respol,categories=federator
// +kubebuilder:printcolumn:name="Service",type=string,JSONPath=`.spec.service`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name: expected at most 63 characters, for it is part of a name in the federation"
type ResolutionPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the policy says.
	// +required
	Spec ResolutionPolicySpec `json:"spec"`
	// Status is what has become of it; federator writes it.
	// +optional
	Status ResolutionPolicyStatus `json:"status,omitzero"`
}

// ResolutionPolicyList is a list of them.
//
// +kubebuilder:object:root=true
type ResolutionPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ResolutionPolicy `json:"items"`
}

// Label is a DNS label: the name of a region, a zone, a gate or a service.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
type Label string

// Labels is a list of names, each once.
//
// +kubebuilder:validation:MaxItems=32
// +kubebuilder:validation:XValidation:rule="self.all(x, self.exists_one(y, x == y))",message="expected each name once"
// +listType=atomic
type Labels []Label

// Place is a region, or a zone of one: "us-west" or "us-west/a".
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=127
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(/[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$`
type Place string

// ResolutionPolicySpec is what a ResolutionPolicy says; docs/policies.md explains
// the fields. What is left out is as federator has it built in: fields of the
// federation's default policy are not added.
//
// +kubebuilder:validation:XValidation:rule="!has(self.failoverRegions) || self.failoverRegions.size() == 0 || !has(self.regionOrder) || self.regionOrder.all(r, r in self.failoverRegions)",message="regionOrder: expected only regions that failoverRegions lets serve"
type ResolutionPolicySpec struct {
	// Service is the name of the service, in the namespace of the policy. It stays:
	// the oldest policy of a service counts, and an old policy must not become that of
	// another service.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a policy stays with its service: delete it and create another"
	Service Label `json:"service"`
	// RegionOrder is the order of the regions after the client's own. Regions that it
	// does not name follow by measured round-trip time.
	// +optional
	RegionOrder Labels `json:"regionOrder,omitempty"`
	// RegionOrderFrom is the order for clients of one region, instead of RegionOrder.
	// +optional
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=from
	RegionOrderFrom []RegionOrderFrom `json:"regionOrderFrom,omitempty"`
	// Weights are relative weights of regions and zones, one above 0 at least.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.size() == 0 || self.exists(w, w.weight > 0)",message="expected one weight above 0 at least"
	// +listType=map
	// +listMapKey=place
	Weights []Weight `json:"weights,omitempty"`
	// OverprovisioningPercent: a priority keeps all of its traffic while its healthy
	// share times this covers it; 140 if it is left out.
	// +optional
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=1000
	OverprovisioningPercent int32 `json:"overprovisioningPercent,omitempty"`
	// PanicThresholdPercent: below this share of available endpoints health is
	// ignored; 0 turns panic off, 50 if it is left out.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	PanicThresholdPercent *int32 `json:"panicThresholdPercent,omitempty"`
	// FailoverRegions are the only regions that may serve, ever; all if it is left out.
	// +optional
	FailoverRegions Labels `json:"failoverRegions,omitempty"`
	// Ramp is over how long returning capacity takes its share back, "0s" to "10m";
	// "10s" if it is left out.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) <= duration('10m')",message="expected 0s to 10m"
	Ramp *Duration `json:"ramp,omitempty"`
	// Safety is what must remain of the service during drills and evacuations.
	// +optional
	Safety *Safety `json:"safety,omitempty"`
}

// Duration is a length of time, such as "90s" or "1h30m".
//
// +kubebuilder:validation:MaxLength=16
// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s|ms))+$`
type Duration string

// RegionOrderFrom is an order of regions for clients of one region.
type RegionOrderFrom struct {
	// From is the region of the clients.
	// +required
	From Label `json:"from"`
	// Order is the order of the regions after that.
	// +required
	Order Labels `json:"order"`
}

// Weight is the weight of a region or a zone.
type Weight struct {
	// Place is a region ("us-west") or a zone ("us-west/a").
	// +required
	Place Place `json:"place"`
	// Weight is relative to the others; 0 takes the place out.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Weight int32 `json:"weight"`
}

// Safety is what must remain of a service, whatever is taken away on purpose.
type Safety struct {
	// MinRegions is how many regions have to be left serving.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=256
	MinRegions int32 `json:"minRegions,omitempty"`
	// MinEndpointsPercent is how much of all endpoints has to be left serving.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MinEndpointsPercent int32 `json:"minEndpointsPercent,omitempty"`
	// Gates have to be open while a drill touches the service.
	// +optional
	Gates Labels `json:"gates,omitempty"`
}

// ResolutionPolicyStatus is what has become of a policy.
type ResolutionPolicyStatus struct {
	// Conditions are Ready, Conflict and Refused.
	// +optional
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The types of the conditions of a ResolutionPolicy.
const (
	// PolicyReady: the policy is in force, in every region.
	PolicyReady = "Ready"
	// PolicyConflict: another policy for the service counts.
	PolicyConflict = "Conflict"
	// PolicyRefused: the federation's export rules do not let this cluster speak for
	// the service.
	PolicyRefused = "Refused"
)

// The reasons of the conditions of a ResolutionPolicy.
const (
	ReasonInForce          = "InForce"
	ReasonPending          = "Pending"
	ReasonOlderPolicy      = "OlderPolicy"
	ReasonOperatorPolicy   = "OperatorPolicy"
	ReasonNoConflicts      = "NoConflicts"
	ReasonExportRules      = "ExportRules"
	ReasonAllowed          = "Allowed"
	ReasonInvalid          = "Invalid"
	ReasonTooMany          = "TooMany"
	ReasonClusterNotJoined = "ClusterNotJoined"
)
