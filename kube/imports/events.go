package imports

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/federation/catalog"
)

// eventBurst is how many Events may be told at once. They are written one after
// another, eventsPerSecond of them in a second.
const eventBurst = 100

// Notice is something to tell the users of the cluster, as an Event: a drill that
// began or ended, a link between regions that was lost or is back.
type Notice struct {
	// Service is whom it concerns: the Event is on its ServiceImport. The zero name is
	// all, and the Event is on the Lease of the writer.
	Service catalog.ServiceName
	Warning bool
	// Reason is one word in CamelCase, Message a sentence.
	Reason, Message string
}

// events records Events, not more than a few a second: what is beyond is dropped.
type events struct {
	namespace, replica string
	// uid is that of the object of a kind that belongs to a service, "" if it is not
	// known. Who describes an object is shown the Events with its UID only.
	uid         func(kind string, name catalog.ServiceName) types.UID
	limit, pace *rate.Limiter

	mu       sync.Mutex
	recorder record.EventRecorder
}

func newEvents(namespace, replica string, uid func(string, catalog.ServiceName) types.UID) *events {
	return &events{namespace: namespace, replica: replica, uid: uid, limit: rate.NewLimiter(eventsPerSecond, eventBurst), pace: rate.NewLimiter(eventsPerSecond, 1)}
}

// start begins recording, until the returned function is called.
func (e *events) start(ctx context.Context, core kubernetes.Interface) (stop func()) {
	b := record.NewBroadcaster(record.WithContext(ctx))
	stopper := b.StartRecordingToSink(sink{
		EventSink: &typedcorev1.EventSinkImpl{Interface: core.CoreV1().Events("")},
		wait:      func() error { return e.pace.Wait(ctx) },
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.recorder = b.NewRecorder(runtime.NewScheme(), corev1.EventSource{Component: FieldManager, Host: e.replica})
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.recorder = nil
		stopper.Stop()
		b.Shutdown()
	}
}

// sink tells Events apart by more than client-go does, which names them by the name
// of their object and the time: an import and its export have the same name, and of
// two Events within one tick of the clock the second would be lost.
type sink struct {
	record.EventSink
	wait func() error // until the next one may be written
}

// Create creates an Event. The name is the same if it has to be tried again.
func (s sink) Create(event *corev1.Event) (*corev1.Event, error) {
	if err := s.wait(); err != nil {
		return nil, err
	}
	h := fnv.New32a()
	fmt.Fprint(h, event.InvolvedObject.Kind, "/", event.Reason, "/", event.Message)
	named := event.DeepCopy()
	named.Name = fmt.Sprintf("%s.%08x", event.Name, h.Sum32())
	return s.EventSink.Create(named)
}

// Patch counts an Event up that happens again.
func (s sink) Patch(event *corev1.Event, patch []byte) (*corev1.Event, error) {
	if err := s.wait(); err != nil {
		return nil, err
	}
	return s.EventSink.Patch(event, patch)
}

func (e *events) record(on *corev1.ObjectReference, warning bool, reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.recorder == nil || !e.limit.Allow() {
		return
	}
	kind := corev1.EventTypeNormal
	if warning {
		kind = corev1.EventTypeWarning
	}
	e.recorder.Event(on, kind, reason, message)
}

// note tells about one import or export.
func (e *events) note(name catalog.ServiceName, n Note) {
	kind := kindImport
	if n.OnExport {
		kind = kindExport
	}
	e.record(e.reference(kind, name), n.Warning, n.Reason, n.Message)
}

// foreign tells that an object is in the way of an import.
func (e *events) foreign(name catalog.ServiceName, object string) {
	e.record(e.reference(kindImport, name), true, "ForeignObject", object+" has the name of one of ours and is not: it is left alone")
}

// contested tells that something keeps changing an object of an import, or the status
// of an export, back. On one that is gone nobody would see it.
func (e *events) contested(name catalog.ServiceName, object string) {
	n := Note{Warning: true, Reason: "ChangedBack",
		Message: object + ": something keeps changing it back, such as an admission webhook or another controller, so it is written less often; have that leave objects with the label " + LabelImport + " alone"}
	kind := kindImport
	if strings.HasPrefix(object, kindExport+" ") {
		kind, n.OnExport = kindExport, true
		n.Message = object + ": something else keeps writing the same conditions, so they are written less often; have one controller of the Multi-Cluster Services API report on it"
	}
	if e.uid(kind, name) != "" {
		e.note(name, n)
	}
}

func (e *events) reference(kind string, name catalog.ServiceName) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: mcsv1beta1.GroupVersion.String(), Kind: kind, Namespace: name.Namespace, Name: name.Name, UID: e.uid(kind, name),
	}
}

// notice tells the users of the cluster something.
func (e *events) notice(n Notice) {
	on := &corev1.ObjectReference{APIVersion: "coordination.k8s.io/v1", Kind: kindLease, Namespace: e.namespace, Name: LeaseName, UID: e.uid(kindLease, n.Service)}
	if n.Service != (catalog.ServiceName{}) {
		on = e.reference(kindImport, n.Service)
	}
	e.record(on, n.Warning, n.Reason, n.Message)
}

// Tell records an Event on any object while this replica is the writer. It does not
// wait, and shares the bound on Events with all others.
func (w *Writer) Tell(on *corev1.ObjectReference, warning bool, reason, message string) {
	if w.Leading() {
		w.events.record(on, warning, reason, message)
	}
}

// tell turns notices into Events while this replica is the writer; the others only
// take them, so that nobody waits.
func (w *Writer) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case n, ok := <-w.cfg.Notices:
			switch {
			case !ok:
				return
			case w.Leading():
				w.events.notice(n)
			}
		}
	}
}
