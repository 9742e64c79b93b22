package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/peering/pb"
	"github.com/federator/federator/test/e2e/fleet"
)

const (
	payments = "payments/api"
	// ownPayments lets west alone export payments, and everybody the rest.
	ownPayments = "kind: ExportRule\nname: payments\nspec: {services: [payments/*], clusters: [region:west]}\n"
)

// applyRules writes the export rules of a document.
func applyRules(f *fleet.Fleet, r *fleet.Replica, document string, flags ...string) fleet.Result {
	return f.Pipe(document, append([]string{"export-rule", "apply", "-f", "-", "--socket", r.Sock}, flags...)...)
}

// isHijacked is nil if clients of every region's DNS get payments of east, by the
// name that asks for it, and clients of east by any.
func isHijacked(replicas []*fleet.Replica, endpoints []*fleet.Endpoint) error {
	var errs []error
	for _, r := range replicas {
		errs = append(errs, r.Answers(fleet.PinnedName(payments, "east"), fleet.Addresses(endpoints)...))
		if r.Region == "east" {
			errs = append(errs, r.Answers(fleet.ServiceName(payments), fleet.Addresses(endpoints)...))
		}
	}
	return errors.Join(errs...)
}

// isRight is nil if payments is that of west, whoever asks and however.
func isRight(replicas []*fleet.Replica, endpoints []*fleet.Endpoint) error {
	var errs []error
	for _, r := range replicas {
		errs = append(errs, r.Answers(fleet.ServiceName(payments), fleet.Addresses(endpoints)...))
		if found, err := r.Lookup(fleet.PinnedName(payments, "east")); err == nil && len(found) > 0 {
			errs = append(errs, fmt.Errorf("%s: expected no payments of east, found %v", r, found))
		}
	}
	return errors.Join(errs...)
}

func TestAHijackOfAServiceIsStoppedByAnExportRuleInEveryRegion(t *testing.T) {
	f := newFleet(t)
	right, wrong := f.Endpoints(2), f.Endpoints(2)
	f.Serve("west", fleet.ServicesFile(payments, right...))
	f.Serve("east", fleet.ServicesFile(payments, wrong...)) // nothing keeps it from doing that
	f.Grow(1, "west", "east")
	all := f.Replicas("")
	west, east := f.Replicas("west")[0], f.Replicas("east")[0]
	f.AnswersAll(20*time.Second, all, payments, "west", right...)
	f.Until(30*time.Second, "the hijack to succeed", func() error { return isHijacked(all, wrong) })

	// The operator looks first, is stopped, and says that it is meant.
	dry := applyRules(f, west, ownPayments, "--dry-run").OK(t)
	if !strings.Contains(dry.Out, "taken away  payments/api  east-1   east    2") {
		t.Errorf("expected the dry run to name what it takes away, found\n%s", dry.Out)
	}
	applyRules(f, west, ownPayments).Fails(t, 1, "payments/api of cluster east-1", "--force")
	// Waited for, because health of the first second may still be on its way.
	f.Until(10*time.Second, "neither to have changed anything", func() error { return isHijacked(all, wrong) })
	applyRules(f, west, ownPayments, "--force").OK(t)
	audited(t, west, "", "force-export-rules", "exportrule/payments", "west-0")
	f.Until(10*time.Second, "every region to answer with west's", func() error { return isRight(all, right) })
	for _, r := range all {
		f.Until(10*time.Second, r.String()+" to say so", func() error { return saysRefused(r, 1) })
		r.CLI("resolve", payments).OK(t)
	}
	east.CLI("export-rule", "check", payments, "--cluster", "east-1").Fails(t, 3)
	east.CLI("export-rule", "check", payments, "--cluster", "west-1").OK(t)

	// Neither a restart, nor the API, nor an edit of the file gets around it.
	east.Stop()
	east.Start()
	east.Ready()
	other := "services:\n- name: payments/other\n  ports: [{name: http, port: 80}]\n  endpoints: [{address: 10.9.9.9}]\n"
	if said := f.Pipe(other, "services", "apply", "-f", "-", "--socket", east.Sock).OK(t); !strings.Contains(said.Out, "refused by export rule payments") {
		t.Errorf("expected the apply to warn, found %s", said.Out)
	}
	f.Serve("east", fleet.ServicesFile(payments, wrong[:1]...))
	for _, r := range all {
		f.Until(20*time.Second, r.String()+" to know of both", func() error { return saysRefused(r, 2) })
	}
	if err := isRight(all, right); err != nil {
		t.Error(err)
	}
	east.CLI("services", "delete", "payments/other").OK(t) // what is refused can be deleted
	for _, r := range all {
		f.Until(10*time.Second, r.String()+" to forget it", func() error { return saysRefused(r, 1) })
	}

	// The rule goes, in the other region, and what it refused is back, as it is now.
	east.CLI("export-rule", "delete", "payments").OK(t)
	f.Until(40*time.Second, "the export of east to be back", func() error { return isHijacked(all, wrong[:1]) })
	for _, r := range all {
		f.Until(10*time.Second, r.String()+" to say so", func() error { return saysRefused(r, 0) })
	}
}

// saysRefused is nil if status shows so many refused exports of east-1, and check
// finds a problem if there are any.
func saysRefused(r *fleet.Replica, n uint32) error {
	s, err := r.Status()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.GetClusters(), func(c *pb.ClusterStatus) bool { return c.GetName() == "east-1" })
	if i < 0 || s.GetClusters()[i].GetRefused() != n {
		return fmt.Errorf("%s: expected %d refused exports of east-1, found %v", r, n, s.GetClusters())
	}
	problems, err := r.Problems()
	if p := problems["export-refused"]; err == nil && (p != nil) != (n > 0) {
		err = fmt.Errorf("%s: expected a problem %v, found %v", r, n > 0, p)
	}
	return err
}

// A region that is cut off when a rule is written still answers by it as soon as it
// hears of it, and so does a replica that was away.
func TestAReplicaThatWasAwayAnswersByTheRulesItMissed(t *testing.T) {
	f := newFleet(t)
	right, wrong := f.Endpoints(1), f.Endpoints(1)
	f.Serve("west", fleet.ServicesFile(payments, right...))
	f.Serve("east", fleet.ServicesFile(payments, wrong...))
	f.Grow(1, "west", "east")
	all := f.Replicas("")
	west, east := f.Replicas("west")[0], f.Replicas("east")[0]
	f.Until(30*time.Second, "the hijack to succeed", func() error { return isHijacked(all, wrong) })
	east.Stop()
	applyRules(f, west, ownPayments, "--force").OK(t)
	east.Start()
	east.Ready()
	f.Until(30*time.Second, "every region to answer with west's", func() error { return isRight(all, right) })
	f.Until(20*time.Second, "the rule to be in east's own Raft, too", func() error { return keepsRule(f, east, "payments") })
	west.Stop() // it stands without west
	f.Until(20*time.Second, "east to keep to the rule", func() error {
		found, err := east.Lookup(fleet.ServiceName(payments))
		if err == nil && slices.Contains(found, wrong[0].Address) {
			err = fmt.Errorf("found %v", found)
		}
		return err
	})
	east.Stop()
	east.Start()
	east.Ready()
	f.Until(20*time.Second, "east to keep to the rule after a restart", func() error { return saysRefused(east, 1) })
}

// keepsRule is nil if the backup of a replica's region has an export rule: so the rule
// is in the region's own Raft, and not merely in what it holds of others.
func keepsRule(f *fleet.Fleet, r *fleet.Replica, name string) error {
	path := filepath.Join(f.Dir, "rules-of-"+r.Region)
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if said := r.CLI("backup", path); said.Code != 0 {
		return errors.New(said.Err)
	}
	b, err := os.ReadFile(path)
	if err == nil && !strings.Contains(string(b), fmt.Sprintf(`"kind":%q,"name":%q`, "exportrule", name)) {
		err = fmt.Errorf("the backup of %s does not hold the export rule %s", r.Region, name)
	}
	return err
}
