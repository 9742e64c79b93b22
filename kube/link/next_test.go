package link

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"github.com/federator/federator/peering/enroll"
	"github.com/federator/federator/peering/pb"
)

func TestWhatComesNextWhileAClusterJoins(t *testing.T) {
	ours := func(expires time.Duration) *JoinSecret {
		return &JoinSecret{TrustDomain: "acme.example", Expose: "hostport", Expires: now.Add(expires)}
	}
	for name, test := range map[string]struct {
		joining, to *Facts
		wanted      Wanted
		want        step
		why         string
	}{
		"nothing is installed":     {&Facts{Context: "b"}, member("a"), Wanted{Install: true}, stepInstall, "not installed"},
		"it was deleted meanwhile": {&Facts{Context: "b"}, member("a"), Wanted{}, stepWait, "no such pod"},
		"the pod has not started": {func() *Facts {
			f := waitingCluster("b")
			f.Waits, f.Pods[0].Says = false, ""
			f.Pods[0].Trouble = "ImagePullBackOff"
			return f
		}(), member("a"), Wanted{}, stepWait, "ImagePullBackOff"},
		"the pod waits":                    {waitingCluster("b"), member("a"), Wanted{}, stepInvite, "waits for a token"},
		"the pod waits, nobody can invite": {waitingCluster("b"), func() *Facts { f := cluster("a"); f.Silent = "gone"; return f }(), Wanted{}, stepWait, "a: a replica that answers: gone"},
		"the pod has a token": {func() *Facts {
			f := waitingCluster("b")
			f.Secret = ours(time.Hour)
			f.Pods[0].Says = "another try: refused"
			return f
		}(), member("a"), Wanted{}, stepWait, "another try: refused"},
		"the token is good no more": {func() *Facts { f := waitingCluster("b"); f.Secret = ours(30 * time.Second); return f }(), member("a"), Wanted{}, stepReplace, "good no more"},
		"it ends while it is used":  {func() *Facts { f := waitingCluster("b"); f.Secret, f.Waits = ours(0), false; return f }(), member("a"), Wanted{}, stepWait, "to join"},
		"it cannot reach the address": {func() *Facts {
			f := waitingCluster("b")
			f.Secret, f.Pods[0].Says = ours(time.Hour), "could not become a member; trying again: "+enroll.ErrUnreachable.Error()+" (timeout)"
			return f
		}(), member("a"), Wanted{}, stepWait, "replicas of a are exposed by hostport: if that is an address which b does not reach, federator install --context a --expose hostport, or loadbalancer"},
		"the token has addresses of before": {func() *Facts { f := waitingCluster("b"); f.Secret = ours(time.Hour); f.Secret.Expose = "pod"; return f }(), member("a"), Wanted{}, stepReplace, "good no more"},
		"the token is of another federation": {func() *Facts {
			f := waitingCluster("b")
			f.Secret = &JoinSecret{TrustDomain: "other", Expires: now.Add(time.Hour)}
			return f
		}(), member("a"), Wanted{}, stepReplace, ""},
		"the token is somebody else's": {func() *Facts { f := waitingCluster("b"); f.Secret = &JoinSecret{}; return f }(), member("a"), Wanted{}, stepWait, ""},
		"it does not know the other":   {member("b"), member("a", "b"), Wanted{}, stepWait, "b: to hear of region a"},
		"the other does not know it":   {member("b", "a"), member("a"), Wanted{}, stepWait, "a: to hear of region b"},
		"its data has not arrived":     {member("b", "a"), func() *Facts { f := member("a", "b"); f.Agent.Regions[1].Freshness = "lost"; return f }(), Wanted{}, stepWait, "a: region b: its data to arrive (lost)"},
		"the stream fails": {member("b", "a"), func() *Facts {
			f := member("a", "b")
			f.Agent.Regions[1].Freshness, f.Agent.Regions[1].StreamError = "lost", "connection refused"
			return f
		}(), Wanted{}, stepWait, "connection refused"},
		"it is not reachable": {member("b", "a"), func() *Facts { f := member("a", "b"); f.Agent.Regions[1].Reach = "silent"; return f }(), Wanted{}, stepWait, "to be reachable (silent)"},
		"it is not ready": {func() *Facts {
			f := member("b", "a")
			f.Agent.Ready = false
			f.Agent.WaitingFor = []string{"raft"}
			return f
		}(), member("a", "b"), Wanted{}, stepWait, "raft"},
		"one replica is missing":       {func() *Facts { f := member("b", "a"); f.Ready = 2; return f }(), member("a", "b"), Wanted{}, stepWait, "2 of 3"},
		"they are linked":              {member("b", "a"), member("a", "b"), Wanted{}, stepDone, ""},
		"an API server is away":        {&Facts{Context: "b", Unreachable: "timeout"}, member("a"), Wanted{Install: true}, stepWait, "timeout"},
		"the other API server is away": {member("b", "a"), &Facts{Context: "a", Unreachable: "timeout"}, Wanted{}, stepWait, "timeout"},
	} {
		what, why := next(test.joining, test.to, test.wanted, now)
		if what != test.want || !strings.Contains(why, test.why) || what == stepDone && why != "" {
			t.Errorf("%s: expected %d, %q, found %d, %q", name, test.want, test.why, what, why)
		}
	}
}

func TestWhatComesNextWhileARegionIsTakenOut(t *testing.T) {
	evacuated := func(f *Facts, ago time.Duration) *Facts {
		f.Agent.Evacuations = []*pb.EvacuationInfo{{Region: "b", Started: timestamppb.New(now.Add(-ago))}}
		return f
	}
	silent := func(f *Facts) *Facts { f.Agent.Regions[1].Reach = "silent"; return f }
	removed := func() *Facts {
		f := member("a")
		f.Agent.Regions = append(f.Agent.Regions, &pb.RegionStatus{Name: "b", Removed: true})
		return f
	}
	stopped := func() *Facts { f := cluster("b"); f.Replicas, f.Ready = 0, 0; return f }
	for name, test := range map[string]struct {
		l    leaving
		want parting
	}{
		"clients are there":                {leaving{from: member("a", "b"), cluster: member("b", "a")}, partDrain},
		"they are on their way":            {leaving{from: evacuated(member("a", "b"), 29*time.Second), cluster: member("b", "a")}, partWait},
		"they are gone":                    {leaving{from: evacuated(member("a", "b"), 30*time.Second), cluster: member("b", "a")}, partStop},
		"no time for that":                 {leaving{from: member("a", "b"), cluster: member("b", "a"), force: true}, partStop},
		"the pods are ending":              {leaving{from: evacuated(member("a", "b"), time.Minute), cluster: func() *Facts { f := stopped(); f.Pods = []Pod{{}}; return f }()}, partWait},
		"they have ended, and still count": {leaving{from: evacuated(member("a", "b"), time.Minute), cluster: stopped()}, partWait},
		"it is silent":                     {leaving{from: silent(evacuated(member("a", "b"), time.Minute)), cluster: stopped()}, partRemove},
		"the cluster is gone":              {leaving{from: silent(member("a", "b"))}, partRemove},
		"the cluster is gone, it answers":  {leaving{from: evacuated(member("a", "b"), time.Minute)}, partWait},
		"its evacuation goes on":           {leaving{from: evacuated(removed(), time.Minute), cluster: stopped()}, partSettle},
		"it is out":                        {leaving{from: removed(), cluster: stopped()}, partDone},
		"it is out, and runs":              {leaving{from: removed(), cluster: cluster("b")}, partStop},
		"it never was in":                  {leaving{from: member("a"), cluster: cluster("b")}, partDone},
		"to be uninstalled":                {leaving{from: removed(), cluster: stopped(), uninstall: true, left: []string{"x"}}, partUninstall},
		"it is being uninstalled":          {leaving{from: removed(), cluster: &Facts{Ending: true}, uninstall: true}, partWait},
		"it is uninstalled":                {leaving{from: removed(), cluster: &Facts{}, uninstall: true}, partDone},
		"its API server is away":           {leaving{from: silent(member("a", "b")), cluster: &Facts{Context: "b", Unreachable: "timeout"}}, partWait},
		"it is out, its API server away":   {leaving{from: removed(), cluster: &Facts{Context: "b", Unreachable: "timeout"}, uninstall: true}, partWait},
		"nobody answers":                   {leaving{from: cluster("a"), cluster: stopped()}, partWait},
	} {
		test.l.region, test.l.drain, test.l.now = "b", 30*time.Second, now
		if what, why := test.l.next(); what != test.want {
			t.Errorf("%s: expected %d, found %d, %q", name, test.want, what, why)
		}
		if steps := strings.Join(test.l.steps(), "; "); test.want == partStop && !strings.Contains(steps, "scale the StatefulSet") || test.want == partDone && steps != "" {
			t.Errorf("%s: what is announced is not what is done: %q", name, steps)
		}
	}
}

func TestWhatIsInTheWayOfTakingARegionOut(t *testing.T) {
	for name, test := range map[string]struct {
		l    leaving
		want []string
	}{
		"nothing":             {leaving{from: member("a", "b"), cluster: member("b", "a")}, nil},
		"nothing is known":    {leaving{from: cluster("a")}, []string{"error agent-silent"}},
		"it is the same":      {leaving{from: member("a", "b"), cluster: func() *Facts { f := member("b", "a"); f.ID = "id-a"; return f }()}, []string{"error same-cluster"}},
		"another federation":  {leaving{from: member("a", "b"), cluster: func() *Facts { f := member("b"); f.Agent.TrustDomain = "other"; return f }()}, []string{"error other-federation"}},
		"the authority":       {leaving{from: func() *Facts { f := member("a", "b"); f.Agent.Regions[1].Authority = true; return f }()}, []string{"error authority"}},
		"its own region":      {leaving{from: member("b", "a")}, []string{"error own-region"}},
		"it is another's":     {leaving{from: member("a", "b"), cluster: waitingCluster("b")}, []string{"error region-taken"}},
		"it has lost all":     {leaving{from: func() *Facts { f := member("a", "b"); f.Agent.Regions[1].Reach = "silent"; return f }(), cluster: waitingCluster("b")}, nil},
		"others are in it":    {leaving{from: member("a", "b"), others: []string{"x of cluster y"}}, []string{"error others"}},
		"services only there": {leaving{from: member("a", "b"), only: []string{"shop/checkout"}}, []string{"warning only-there"}},
	} {
		test.l.region = "b"
		if found := codes(test.l.hindrances()); !slices.Equal(found, test.want) {
			t.Errorf("%s: expected %v, found %v", name, test.want, found)
		}
	}
	only := servedOnlyIn("b", []*pb.ServiceSummary{
		{Name: "both", Backends: []*pb.BackendSummary{{Region: "a", Healthy: 1}, {Region: "b", Healthy: 1}}},
		{Name: "there", Backends: []*pb.BackendSummary{{Region: "a", Endpoints: 1}, {Region: "b", Healthy: 1}}},
		{Name: "nowhere", Backends: []*pb.BackendSummary{{Region: "b", Endpoints: 1}}},
		{Name: "here", Backends: []*pb.BackendSummary{{Region: "a", Healthy: 1}}},
	})
	if !slices.Equal(only, []string{"there"}) {
		t.Errorf("found %v", only)
	}
}

func TestWhatAnExportWaitsForOrWhyItIsNone(t *testing.T) {
	condition := func(kind mcsv1beta1.ServiceExportConditionType, status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return metav1.Condition{Type: string(kind), Status: status, Reason: reason, Message: message}
	}
	valid := condition(mcsv1beta1.ServiceExportConditionValid, metav1.ConditionTrue, "Valid", "")
	for name, test := range map[string]struct {
		conditions   []metav1.Condition
		waiting, err string
	}{
		"nobody has looked": {nil, "to look at", ""},
		"it is pending":     {[]metav1.Condition{valid, condition(mcsv1beta1.ServiceExportConditionReady, metav1.ConditionFalse, "Pending", "")}, "take it over", ""},
		"it is refused":     {[]metav1.Condition{valid, condition(mcsv1beta1.ServiceExportConditionReady, metav1.ConditionFalse, "ExportRefused", "rule shop refuses it")}, "", "rule shop refuses it (ExportRefused)"},
		"it is not valid":   {[]metav1.Condition{condition(mcsv1beta1.ServiceExportConditionValid, metav1.ConditionFalse, "NoService", "there is none")}, "", "there is none (NoService)"},
		"it counts":         {[]metav1.Condition{valid, condition(mcsv1beta1.ServiceExportConditionReady, metav1.ConditionTrue, "Exported", "")}, "", ""},
	} {
		waiting, err := verdict(&mcsv1beta1.ServiceExport{Status: mcsv1beta1.ServiceExportStatus{Conditions: test.conditions}})
		said := ""
		if err != nil {
			said = err.Error()
		}
		if !strings.Contains(waiting, test.waiting) || (waiting == "") != (test.waiting == "") || !strings.Contains(said, test.err) || (said == "") != (test.err == "") {
			t.Errorf("%s: expected %q, %q, found %q, %q", name, test.waiting, test.err, waiting, said)
		}
	}
}

func TestWhatIsNotExportedAsItIsIsSaid(t *testing.T) {
	conflict := metav1.Condition{Type: string(mcsv1beta1.ServiceExportConditionConflict), Status: metav1.ConditionTrue, Reason: "PortConflict", Message: "the oldest decides"}
	for message, noted := range map[string]bool{
		"":                            false,
		"the Service is exported":     false,
		"the Service can be exported": false,
		"the Service is exported; 1 EndpointSlice(s) of type FQDN are left out: an endpoint needs an address":                                               true,
		"the Service is exported; 2 endpoint(s) are left out: their address is no unicast address that others can reach":                                    true,
		"the Service is exported; it has 10001 endpoints, expected at most 10000: those with the highest addresses are left out":                            true,
		"the Service is exported; 1 appProtocol(s) of more than 253 bytes are left out":                                                                     true,
		"the Service is exported; 1 endpoint(s) do not listen on every port of the Service":                                                                 true,
		`the Service is exported; not carried over: label "app.kubernetes.io/name" (its domain is reserved)`:                                                true,
		"the Service is exported; its internalTrafficPolicy Local is said in ServiceImports only: the clusterset IP leads to endpoints on other nodes, too": true,
		"what a later build has to say": true,
	} {
		valid := metav1.Condition{Type: string(mcsv1beta1.ServiceExportConditionValid), Status: metav1.ConditionTrue, Reason: "Valid", Message: message}
		want := []string{"conflict: the oldest decides"}
		if noted {
			want = append(want, message)
		}
		export := &mcsv1beta1.ServiceExport{Status: mcsv1beta1.ServiceExportStatus{Conditions: []metav1.Condition{conflict, valid}}}
		if found := notes(export); !slices.Equal(found, want) {
			t.Errorf("%q: expected %q, found %q", message, want, found)
		}
	}
}

func TestWhyAPodDoesNotRun(t *testing.T) {
	west := place{"west", "fed"}
	waiting := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}}
	}
	for want, status := range map[string]corev1.PodStatus{
		"put the image on the nodes":                                waiting("ImagePullBackOff", "no such host"),
		"kubectl --context west -n fed logs federator-1 --previous": waiting("CrashLoopBackOff", ""),
		"ContainerCreating":                                         waiting("ContainerCreating", ""),
		"no nodes":                                                  {Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "no nodes"}}},
		"exit code 3":                                               {ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3}}}}},
		"no node has taken it":                                      {Phase: corev1.PodPending},
	} {
		if found := trouble(west, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "federator-1"}, Status: status}); !strings.Contains(found, want) {
			t.Errorf("expected %q, found %q", want, found)
		}
	}
	if found := trouble(west, &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}}); found != "" {
		t.Errorf("found %q", found)
	}
	log := `{"level":"INFO","msg":"waiting","for":"the Secret"}
{"level":"WARN","msg":"could not become a member; trying again","error":"connection refused","in":1}
{"level":"INFO","msg":"something"}
`
	if found := lastWord([]byte(log)); found != "could not become a member; trying again: connection refused" {
		t.Errorf("found %q", found)
	}
	if found := lastWord([]byte(log + `{"level":"INFO","msg":"waiting","for":"the Secret"}`)); found != "it waits for the Secret" {
		t.Errorf("found %q", found)
	}
	if found := lastWord([]byte(log + "federator: --region is missing\n")); found != "--region is missing" {
		t.Errorf("found %q", found)
	}
}

func TestATokenIsRevokedOnlyIfItsSecretWasRefusedForCertain(t *testing.T) {
	secrets := corev1.Resource("secrets")
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"it is there":         {apierrors.NewAlreadyExists(secrets, "x"), true},
		"it is not allowed":   {apierrors.NewForbidden(secrets, "x", nil), true},
		"the answer was lost": {io.ErrUnexpectedEOF, false},
		"it took too long":    {apierrors.NewTimeoutError("x", 1), false},
		"it was made":         {nil, false},
	} {
		if found := refused(test.err); found != test.want {
			t.Errorf("%s: found %v", name, found)
		}
	}
}
