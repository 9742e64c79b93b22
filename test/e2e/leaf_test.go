package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/test/e2e/fleet"
)

// leafLifetime is the shortest that the configuration takes.
const leafLifetime = time.Minute

// shorten has every replica get a new certificate, because the first ones do not
// heed the configured lifetime.
func shorten(f *fleet.Fleet) {
	f.Helper()
	all := f.Replicas("")
	for _, r := range all {
		r.Stop()
	}
	for _, r := range all {
		if err := os.Remove(filepath.Join(r.Dir, "identity", "svid.pem")); err != nil {
			f.Fatal(err)
		}
		r.Start()
	}
	for _, r := range all {
		r.Ready()
		f.Until(20*time.Second, r.String()+" to have a short certificate", func() error {
			s, err := r.Status()
			if left := time.Until(s.GetCertificate().GetNotAfter().AsTime()); err == nil && left > leafLifetime {
				err = fmt.Errorf("its certificate is good for %v", left)
			}
			return err
		})
	}
}

func TestALeafRenewsAtHalfLifeWithoutADroppedStreamAndAnExpiredOneComesBack(t *testing.T) {
	f := slowFleet(t)
	endpoints := f.Endpoints(1)
	f.Serve("west", fleet.ServicesFile(checkout, endpoints...))
	f.Config = f.Write("agent.yaml", fmt.Sprintf("leafLifetime: %s\n", leafLifetime))
	f.Grow(3, "west", "east")
	f.Voters("west")
	all := f.Replicas("")
	f.AnswersAll(20*time.Second, all, checkout, "west", endpoints...)

	shorten(f)
	east, asleep := f.Replicas("east")[0], f.Replicas("east")[1:]
	for _, r := range asleep {
		r.Stop()
	}
	stop := f.Watch(fleet.ServiceName(checkout), east, all[0])
	before, err := east.Status()
	if err != nil {
		t.Fatal(err)
	}
	logged := len(all[0].Log(0))
	end := time.Now().Add(leafLifetime + 10*time.Second)
	for time.Now().Before(end) {
		time.Sleep(time.Second)
		s, err := all[0].RegionStatus("east")
		if err != nil || s.GetFreshness() != "fresh" || s.GetStreamError() != "" {
			t.Errorf("expected a fresh stream all the time, found %v, %v", s, err)
		}
	}
	t.Logf("%d lookups meanwhile", stop())
	after, err := east.Status()
	if err != nil || !after.GetCertificate().GetNotAfter().AsTime().After(before.GetCertificate().GetNotAfter().AsTime()) {
		t.Errorf("expected a newer certificate than %v, found %v, %v", before.GetCertificate(), after.GetCertificate(), err)
	}
	if said := all[0].Log(0)[logged:]; strings.Contains(said, "link broken") {
		t.Errorf("a stream was dropped:\n%s", said)
	}
	for _, r := range asleep { // longer than their certificates were good for
		r.Start()
	}
	for _, r := range asleep {
		r.Ready()
		f.Until(20*time.Second, r.String()+" to hold a certificate again", func() error {
			s, err := r.Status()
			if err == nil && !s.GetCertificate().GetNotAfter().AsTime().After(time.Now()) {
				err = fmt.Errorf("found %v", s.GetCertificate())
			}
			return err
		})
	}
	f.AnswersAll(10*time.Second, asleep, checkout, "west", endpoints...)
}

func TestARegionThatSleptPastItsCertificatesComesBack(t *testing.T) {
	f := slowFleet(t)
	endpoints := f.Endpoints(1)
	f.Serve("west", fleet.ServicesFile(checkout, endpoints...))
	f.Config = f.Write("agent.yaml", fmt.Sprintf("leafLifetime: %s\n", leafLifetime))
	f.Grow(3, "west")
	f.Join(f.Replicas("west")[0], "east", "east-0")
	f.Voters("west")
	all := f.Replicas("")
	f.AnswersAll(20*time.Second, all, checkout, "west", endpoints...)
	shorten(f)
	for _, r := range all {
		r.Stop()
	}
	time.Sleep(leafLifetime + 5*time.Second)
	for _, r := range all {
		r.Start()
	}
	for _, r := range all {
		r.Ready()
	}
	f.AnswersAll(20*time.Second, all, checkout, "west", endpoints...)
	f.Until(20*time.Second, "writes", func() error {
		if r := apply(f, all[1], "default", "west"); r.Code != 0 {
			return fmt.Errorf("%s", r.Err)
		}
		return nil
	})
	f.Until(20*time.Second, "the other region to follow", func() error { return policiesAre(all[3], "default") })
}
