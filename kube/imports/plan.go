package imports

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

// Input is everything that decides which objects one service has in this cluster.
type Input struct {
	Name catalog.ServiceName
	// Service is nil if nobody exports it.
	Service    *catalog.Service
	Conditions *catalog.Conditions
	Ramp       locality.Factors
	// Cluster and Region are the importing cluster's.
	Cluster, Region string
	// Zones counts the nodes of every zone of this cluster.
	Zones map[string]int
	// Knowledge was taken before Service was read.
	Knowledge *Knowledge
	// Verdict is on the ServiceExport of this cluster; nil while there is none.
	Verdict *Verdict
	Facts   Facts
	Now     metav1.Time

	was Origin // of Facts.Import, if that is ours
}

// Facts are the objects of one service that exist. They are not changed.
type Facts struct {
	// Namespace: it exists and is not being deleted.
	Namespace bool
	// Import and Service are the objects with the names of the service's, whoever
	// made them; Slices are ours only, ordered by name.
	Import  *mcsv1beta1.ServiceImport
	Service *corev1.Service
	Slices  []*discoveryv1.EndpointSlice
	Export  *mcsv1beta1.ServiceExport
	// Taken holds names of EndpointSlices that are not ours.
	Taken map[string]bool
	// IPsTaken: the API server will not give the import its former IPs again.
	IPsTaken bool
	// NoFamily: the cluster has not the one IP family that was asked for.
	NoFamily bool
}

// Verb is what a [Write] does.
type Verb int

// The verbs. ApplyStatus is a server-side apply of the status, the others are full
// updates of an object at the resourceVersion that it names.
const (
	Create Verb = iota
	Update
	UpdateStatus
	ApplyStatus
	Delete
)

// String returns the verb as metrics have it.
func (v Verb) String() string {
	return [...]string{"create", "update", "status", "status", "delete"}[v]
}

// Write is one request to the API server.
type Write struct {
	Verb Verb
	// Object is a *ServiceImport, *Service, *EndpointSlice or *ServiceExport.
	Object metav1.Object
	// Notes are told as Events once the write has succeeded.
	Notes []Note
}

// Note is an Event about the import or the export of a service.
type Note struct {
	OnExport        bool
	Warning         bool
	Reason, Message string
}

// Urgency orders services that need writes.
type Urgency int

// The urgencies, most urgent first.
const (
	// Dead: clients are sent to no live endpoint although there are some.
	Dead Urgency = iota
	// Flipped: an endpoint that clients are sent to should not be, or an import is new.
	Flipped
	// Rest is everything else.
	Rest
)

// Plan is what is to be done about one service.
type Plan struct {
	// Writes are in the order in which they must be made.
	Writes []Write
	// Again: once they have succeeded there is more to do.
	Again bool
	// Urgency is that of the first Urgent writes, those that clients depend on. What
	// follows only tells of them, and is as urgent as Rest.
	Urgency Urgency
	Urgent  int
	// Imported: the service has an import of ours here. Err is then how far the
	// achieved shares are from the wanted ones, in parts per million of all traffic.
	Imported bool
	Err      uint64
	// Foreign lists objects that are in the way and not ours, Behind a cluster that
	// the existing objects know more about than we do: they are left alone.
	Foreign []string
	Behind  string
	// Contested lists objects that something else keeps changing back; the writer finds
	// them.
	Contested []string

	intent intent
}

// urgency is that of one of the writes.
func (p *Plan) urgency(write int) Urgency {
	if p.Urgent > 0 && write >= p.Urgent {
		return Rest
	}
	return p.Urgency
}

// planner makes one plan.
type planner struct {
	*Input
	Plan
	choices []selection
	layouts []*layout
	listed  map[netip.Addr]bool
}

// Make returns what is to be done about a service. It is pure: equal inputs give
// equal plans, and once the writes of a plan are facts there is nothing to do.
func Make(in Input) Plan {
	if i := in.Facts.Import; i != nil && ours(i, in.Name.Name) {
		in.was = originOf(i.Annotations)
	}
	p := &planner{Input: &in, Plan: Plan{Urgency: Rest, intent: in.intent()}}
	switch {
	case !in.Facts.Namespace:
	case in.Service == nil:
		p.withdraw()
	default:
		p.establish()
	}
	if p.Urgent == 0 {
		p.Urgent = len(p.Writes)
	}
	p.reportExport() // last: clients do not depend on it, and it may be refused
	p.Plan.intent.behind = p.Behind
	return p.Plan
}

func (p *planner) write(v Verb, object metav1.Object, notes ...Note) {
	p.Writes = append(p.Writes, Write{Verb: v, Object: object, Notes: notes})
}

// origin is that of the ServiceImport and the derived Service, sourceOrigin that of
// the slices of one cluster.
func (in *Input) origin() Origin { return in.Knowledge.origin(in.Service.Backends, in.was) }

func (in *Input) sourceOrigin(cluster string) Origin {
	for i := range in.Service.Backends {
		if b := &in.Service.Backends[i]; b.Set.Cluster == cluster {
			return in.Knowledge.origin(in.Service.Backends[i:i+1], Origin{})
		}
	}
	return Origin{Federation: in.Knowledge.Federation}
}

// withdraw removes what is left of a service that nobody exports. What belongs to
// the ServiceImport goes with it; if it is left behind all the same, it is removed
// once the ServiceImport is gone.
func (p *planner) withdraw() {
	i := p.Facts.Import
	if i == nil || !ours(i, p.Name.Name) {
		p.clear()
		return
	}
	if i.DeletionTimestamp != nil {
		return
	}
	if p.Behind = p.Knowledge.behind(p.was); p.Behind == "" {
		p.write(Delete, i)
	}
}

// clear removes the derived Service and the slices.
func (p *planner) clear() {
	if s := p.Facts.Service; s != nil && ours(s, p.Name.Name) {
		p.remove(s, s.Annotations)
	}
	p.clearSlices()
}

func (p *planner) clearSlices() {
	for _, s := range p.Facts.Slices {
		p.remove(s, s.Annotations)
	}
}

// remove deletes an object, unless it knows more than we do.
func (p *planner) remove(object metav1.Object, annotations map[string]string) {
	if object.GetDeletionTimestamp() != nil {
		return
	}
	if cluster := p.Knowledge.behind(originOf(annotations)); cluster != "" {
		p.Behind = cmp.Or(p.Behind, cluster)
		return
	}
	p.write(Delete, object)
}

// establish brings the import about, or up to date.
func (p *planner) establish() {
	i := p.Facts.Import
	switch {
	case i == nil:
		p.Urgency, p.Again = Flipped, true
		p.write(Create, p.newImport(), Note{Reason: "Imported", Message: "imported from " + p.exporters()})
		return
	case !ours(i, p.Name.Name):
		p.Foreign = append(p.Foreign, "ServiceImport "+p.Name.String())
		p.clear()
		return
	case i.DeletionTimestamp != nil:
		return
	}
	p.Imported = true
	p.Behind = p.Knowledge.behind(p.was)
	state := p.derive()
	if state == stateReady || state == stateFamilies {
		state = p.list(state)
	}
	if len(i.Spec.IPs) > 0 { // else it is told now where it is reached
		p.Urgent = len(p.Writes)
	}
	p.describe(state)
}

func (p *planner) exporters() string {
	if n := len(p.Service.Backends); n > 1 {
		return fmt.Sprintf("%d clusters", n)
	}
	return "cluster " + p.Service.Backends[0].Set.Cluster
}

// derive brings the derived Service about, or up to date.
func (p *planner) derive() importState {
	s := p.Facts.Service
	switch {
	case s != nil && !ours(s, p.Name.Name):
		p.Foreign = append(p.Foreign, "Service "+p.Name.Namespace+"/"+s.Name)
		p.clearSlices()
		return stateTaken
	case s != nil && s.DeletionTimestamp != nil:
		return stateWaiting
	case p.Behind != "":
		if s == nil {
			return stateWaiting
		}
	case s == nil:
		p.Urgency, p.Again = Flipped, true
		p.write(Create, p.newService())
		return stateWaiting
	case isHeadless(s) != p.Service.Headless: // it can only be made anew
		p.Again = true
		p.write(Delete, s)
		return stateWaiting
	default:
		p.update(s)
	}
	if !p.Service.Headless && len(clusterIPs(s)) == 0 {
		return stateWaiting
	}
	return stateReady
}

func (p *planner) update(s *corev1.Service) {
	next := s.DeepCopy()
	p.serve(next)
	if !sameService(s, next) {
		next.Annotations = stamp(next.Annotations, p.origin())
		p.write(Update, next)
	}
}

// describe brings the ServiceImport up to date: first what it is, then its status.
func (p *planner) describe(state importState) {
	i := p.Facts.Import
	if p.Behind != "" {
		return
	}
	next := i.DeepCopy()
	p.shape(next)
	if state == stateReady || state == stateFamilies {
		var shares []Share
		for _, c := range p.choices {
			p.Err = max(p.Err, c.err)
			if len(shares) == 0 { // those of most clusters' ports, of a family that has endpoints
				shares = c.shares
			}
		}
		p.address(next, shares)
	}
	origin := p.origin()
	if !sameImport(i, next) || !sameMembers(p.was, origin) {
		next.Annotations = stamp(next.Annotations, origin)
		p.write(Update, next)
		p.Again = true
		return
	}
	p.status(i, state)
}

func (p *planner) status(i *mcsv1beta1.ServiceImport, state importState) {
	var want mcsv1beta1.ServiceImportStatus
	want.EndpointSliceObjects = mcsv1beta1.EndpointSliceObjectsAbsent
	if len(p.layouts) > 0 {
		want.EndpointSliceObjects = mcsv1beta1.EndpointSliceObjectsPresent
	}
	for k := range p.Service.Backends {
		want.Clusters = append(want.Clusters, mcsv1beta1.ClusterStatus{Cluster: p.Service.Backends[k].Set.Cluster})
	}
	ready := []metav1.Condition{p.importCondition(state, p.Err)}
	changed := settle(i.Status.Conditions, ready, i.Generation, p.Now)
	// A definition of the API that is older than the field drops it from every write.
	present := i.Status.EndpointSliceObjects == want.EndpointSliceObjects || i.Status.EndpointSliceObjects == ""
	if !changed && present && slices.Equal(i.Status.Clusters, want.Clusters) {
		return
	}
	next := i.DeepCopy()
	next.Status.EndpointSliceObjects, next.Status.Clusters = want.EndpointSliceObjects, want.Clusters
	next.Status.Conditions = append(slices.DeleteFunc(next.Status.Conditions, func(c metav1.Condition) bool { return c.Type == ready[0].Type }), ready...)
	p.write(UpdateStatus, next)
}
