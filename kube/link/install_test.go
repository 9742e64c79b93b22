package link

import (
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestHowFarAnInstallationIs(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Facts)
		want   string
	}{
		"it runs":                     {func(*Facts) {}, ""},
		"it waits for a token":        {func(f *Facts) { *f = *waitingCluster("b") }, ""},
		"it is paused":                {func(f *Facts) { *f = *cluster("b"); f.Replicas, f.Ready = 0, 0 }, ""},
		"its pods end":                {func(f *Facts) { *f = *cluster("b"); f.Replicas, f.Pods = 0, []Pod{{Trouble: ending}} }, ""},
		"it is not there any more":    {func(f *Facts) { *f = Facts{} }, "replicas to be ready"},
		"its API server is away":      {func(f *Facts) { *f = Facts{Unreachable: "refused"} }, "the API server: refused"},
		"a pod is missing":            {func(f *Facts) { f.Ready = 2 }, "2 are"},
		"a pod is as it was before":   {func(f *Facts) { f.Current, f.Revision = 2, "r2" }, "1 as they were"},
		"no replica is ready":         {func(f *Facts) { f.Agent.Ready = false }, "replicas to be ready"},
		"it is to found, and has not": {func(f *Facts) { *f = *waitingCluster("b"); f.Founding = "acme.example" }, "replicas to be ready"},
	} {
		f := member("b")
		f.Current = 3
		test.change(f)
		if found := f.awaited(); !strings.Contains(found, test.want) || (found == "") != (test.want == "") {
			t.Errorf("%s: expected %q, found %q", name, test.want, found)
		}
	}
}

// To install again changes what was said, also where somebody has scaled the pods.
func TestOnlyWhatWasSaidIsTakenOverFromSomebodyElse(t *testing.T) {
	conflict := func(fields ...string) error {
		var causes []metav1.StatusCause
		for _, f := range fields {
			causes = append(causes, metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict, Field: f})
		}
		return apierrors.NewApplyConflict(causes, "conflict")
	}
	const replicas, image = ".spec.replicas", ".spec.template.spec.containers"
	for name, test := range map[string]struct {
		err  error
		said []string
		want bool
	}{
		"the replicas were said":         {conflict(replicas), []string{replicas}, true},
		"by two others":                  {conflict(replicas, replicas), []string{replicas}, true},
		"something else was not":         {conflict(replicas, image), []string{replicas}, false},
		"nothing was said":               {conflict(replicas), nil, false},
		"it does not say what is":        {conflict(), []string{replicas}, false},
		"another error":                  {errors.New("x"), []string{replicas}, false},
		"an update that came in between": {apierrors.NewConflict(appsv1.Resource("statefulsets"), "federator", errors.New("x")), []string{replicas}, false},
	} {
		if found := onlyOver(test.err, test.said); found != test.want {
			t.Errorf("%s: expected %v", name, test.want)
		}
	}
}
