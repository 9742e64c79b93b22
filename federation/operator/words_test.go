package operator

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/federation/state"
	"github.com/federator/federator/locality"
	"github.com/federator/federator/peering/rpc"
)

func TestAPurposeSurvivesBeingWrittenAndRead(t *testing.T) {
	for _, p := range []JoinPurpose{{}, {Region: "eu"}, {Cluster: "a.b"}, {Region: "eu", Cluster: "eu-1", Description: "rack 7 # left"}, {Description: "region=x"}} {
		if err := p.Validate(); err != nil {
			t.Errorf("%v: %v", p, err)
		}
		if back, ok := ParsePurpose(p.String()); !ok || back != p {
			t.Errorf("%q: expected %+v, found %+v (%v)", p, p, back, ok)
		}
	}
	for _, other := range []string{"", "leave", "joining", "join x=y", "join region=EU"} {
		if p, ok := ParsePurpose(other); ok {
			t.Errorf("%q: expected no purpose, found %+v", other, p)
		}
	}
}

func FuzzParsePurpose(f *testing.F) {
	for _, seed := range []string{"join", "join region=eu cluster=a.b # x", "join # # ", "join  region=", "join\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := ParsePurpose(s)
		if !ok {
			return
		}
		if back, ok := ParsePurpose(p.String()); !ok || back != p {
			t.Errorf("%q: read as %+v, and again as %+v (%v)", s, p, back, ok)
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	for _, seed := range []string{`{}`, `{"regionOrder":["a"]}`, `{"ramp":"1s"}`, `{"x":1}`, `{} {}`, `{"weights":{"a/b":1}}`, `{"safety":{"minRegions":2,"minEndpointsPercent":50,"gates":["a"]}}`} {
		f.Add("default", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, name string, spec []byte) {
		p, err := parsePolicy(name, spec)
		if err == nil {
			if errs := locality.ValidatePolicy(name, p); len(errs) > 0 {
				t.Errorf("took an invalid policy: %v", errs)
			}
			_ = strayRegions(p, []string{"a"})
		} else if rpc.Reason(err) != "INVALID" {
			t.Errorf("expected INVALID, found %v", err)
		}
	})
}

func TestATokenAdmitsOnlyWhoItIsFor(t *testing.T) {
	p := JoinPurpose{Region: "eu", Cluster: "eu-1"}
	if err := p.Allows("eu", "eu-1"); err != nil {
		t.Error(err)
	}
	if p.Allows("us", "eu-1") == nil || p.Allows("eu", "eu-2") == nil || (JoinPurpose{}).Allows("us", "x") != nil {
		t.Error("the wrong replica was admitted, or the right one was not")
	}
}

func TestNearNamesAreSuggestedAndElseTheKnownOnes(t *testing.T) {
	known := []string{"us-west", "eu-central", "asia-east"}
	for name, want := range map[string]string{
		"us-wset": "did you mean us-west?",
		"central": "did you mean eu-central?",
		"mars":    "known: asia-east, eu-central, us-west",
		"":        "known: asia-east, eu-central, us-west",
	} {
		if got := suggestion("region", name, known); got != want {
			t.Errorf("%q: expected %q, found %q", name, want, got)
		}
	}
	if got := suggestion("x", "mars", []string{"a1", "b1", "c1", "d1", "e1", "f1", "g1"}); got != "known: a1, b1, c1, d1, e1 and 2 more" {
		t.Errorf("found %q", got)
	}
	if got := suggestion("x", "mars", nil); got != "there is none of any name" {
		t.Errorf("found %q", got)
	}
	if d := distance("kitten", "sitting"); d != 3 {
		t.Errorf("expected 3, found %d", d)
	}
}

func TestRefusalsCrossTheWireWithTheirCode(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   codes.Code
		reason string
	}{
		{state.ErrInvalid, codes.InvalidArgument, "INVALID"},
		{state.ErrTokenUnknown, codes.NotFound, "TOKEN_UNKNOWN"},
		{fmt.Errorf("x: %w", state.ErrSourceTaken), codes.FailedPrecondition, "SOURCE_TAKEN"},
		{&state.NotLeaderError{}, codes.FailedPrecondition, "NOT_LEADER"},
		{state.ErrUncertain, codes.Aborted, "UNCERTAIN"},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), codes.FailedPrecondition, "NO_ANSWER"},
		{errors.New("odd"), codes.Internal, "INTERNAL"},
		{rpc.Error(codes.NotFound, "MINE", "x"), codes.NotFound, "MINE"},
	} {
		wants(t, refused(c.err), c.code, c.reason)
	}
	if refused(nil) != nil {
		t.Error("expected nil of nil")
	}
	if err := elsewhere(errors.New("in words")); status.Convert(err).Message() != "in words" || rpc.Reason(err) != "REFUSED" {
		t.Errorf("found %v", err)
	}
}

func TestLargeDocumentsAreWrittenInSeveralWholeCommands(t *testing.T) {
	var sets []catalog.EndpointSet
	for i := range 1201 {
		sets = append(sets, set("c", "api", fmt.Sprintf("s%d", i), "10.0.0.1"))
	}
	total := 0
	for _, part := range batches(sets) {
		if len(part) == 0 || len(part) > maxSetsAtOnce {
			t.Errorf("a part of %d sets", len(part))
		}
		total += len(part)
	}
	if total != len(sets) {
		t.Errorf("expected %d sets, found %d", len(sets), total)
	}
	big := set("c", "api", "big")
	for i := range 9000 {
		big.Endpoints = append(big.Endpoints, catalog.Endpoint{ID: fmt.Sprint(i), Address: netip.MustParseAddr("10.0.0.1"), Weight: 1, Hostname: strings.Repeat("h", 60)})
	}
	if parts := batches([]catalog.EndpointSet{big, big, big}); len(parts) != 3 {
		t.Errorf("expected a command for each large set, found %d", len(parts))
	}
	if parts := batches(nil); parts != nil {
		t.Errorf("expected none, found %v", parts)
	}
}

func TestTheNamesOfAServiceInDNS(t *testing.T) {
	s := serviceOf("db", catalog.Healthy, catalog.Unhealthy, catalog.Healthy)
	for i, a := range []string{"10.0.0.1", "10.0.0.2", "fd00::"} {
		s.Backends[0].Set.Endpoints[i].Address = netip.MustParseAddr(a)
	}
	s.Backends[0].Set.Endpoints[0].Hostname = "db-0"
	s.Ports = []catalog.Port{{Name: "sql", Protocol: catalog.TCP, Number: 5432}, {Protocol: catalog.UDP, Number: 53}}
	base := []string{"db.shop.svc.z", "_sql._tcp.db.shop.svc.z"}
	pinned := []string{"db.shop.svc.us-west.region.z", "_sql._tcp.db.shop.svc.us-west.region.z"}
	if got := dnsNames(s, "z"); !slices.Equal(got, slices.Concat(base, pinned)) {
		t.Errorf("found %v", got)
	}
	s.Headless = true
	hosts := []string{"db-0.us-west-0.db.shop.svc.z", "fd00--0.us-west-0.db.shop.svc.z"}
	if got := dnsNames(s, "z"); !slices.Equal(got, slices.Concat(base, hosts, pinned)) {
		t.Errorf("found %v", got)
	}
}

func TestWhatDNSAnswers(t *testing.T) {
	s := &catalog.Service{Name: catalog.ServiceName{Namespace: "shop", Name: "checkout"}}
	for _, region := range []string{"eu-central", "us-west"} {
		var addresses []string
		var health []catalog.Health
		for i := range 12 {
			addresses = append(addresses, fmt.Sprintf("10.%d.0.%d", len(region), i+1))
			health = append(health, catalog.Healthy)
		}
		backend := set(region, "file", "checkout", addresses...)
		s.Backends = append(s.Backends, catalog.Backend{Region: region, Set: &backend, Health: health})
	}
	cond := &catalog.Conditions{Region: "us-west", Reach: map[string]catalog.Reach{}}
	res := locality.Resolve(locality.Input{Service: s, Conditions: cond, Client: catalog.Locality{Region: "us-west", Zone: "a"}})
	for _, c := range []struct {
		headless, known bool
		want            int
	}{{false, true, maxAnswers}, {false, false, maxAnswers}, {true, true, 24}} {
		got := dnsAnswers(res, c.headless, c.known)
		if len(got) != c.want || !strings.HasPrefix(got[0], "10.7.") {
			t.Errorf("%+v: expected %d answers, us-west first, found %v", c, c.want, got)
		}
	}
}

func TestADrillIsExplained(t *testing.T) {
	s := &catalog.Service{Name: catalog.ServiceName{Namespace: "shop", Name: "checkout"}}
	for _, cluster := range []string{"eu-central", "us-west", "us-west-2"} {
		backend := set(cluster, "file", "checkout", fmt.Sprintf("10.0.0.%d", len(cluster)))
		s.Backends = append(s.Backends, catalog.Backend{Region: strings.TrimSuffix(cluster, "-2"), Set: &backend, Health: []catalog.Health{catalog.Healthy}})
	}
	for _, tt := range []struct {
		scope   catalog.Scope
		percent uint32
		want    string
	}{
		{catalog.Scope{Region: "us-west"}, 25, "d takes 25 % of the traffic of us-west"},
		{catalog.Scope{Region: "us-west"}, 100, "d takes 100 % of the traffic of us-west; us-west omitted: drill d takes it away"},
		{catalog.Scope{Region: "us-west", Cluster: "us-west-2"}, 100, "d takes 100 % of the traffic of us-west, cluster us-west-2; " +
			"10.0.0.9 (10.0.0.9, cluster us-west-2) not used: drill d; us-west, cluster us-west-2 omitted: drill d takes it away; drilled: 10.0.0.9"},
	} {
		cond := &catalog.Conditions{Region: "us-west", Drills: []catalog.DrillInForce{{ID: "d", Scope: tt.scope, Share: tt.percent * 10_000}}}
		r := resolution(locality.Resolve(locality.Input{Service: s, Conditions: cond}), cond)
		got := []string{r.GetDrill()}
		for _, o := range r.GetOmissions() {
			got = append(got, o.GetReason())
		}
		for _, p := range r.GetPriorities() {
			for _, l := range p.GetLocalities() {
				for _, e := range l.GetEndpoints() {
					if e.GetReason() == "drilled" && !e.GetServes() {
						got = append(got, "drilled: "+e.GetAddress())
					}
				}
			}
		}
		if strings.Join(got, "; ") != tt.want {
			t.Errorf("expected %q, found %q", tt.want, strings.Join(got, "; "))
		}
	}
}

func TestDurationsAreRoundedForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1234567 * time.Nanosecond: "1ms", 1234 * time.Millisecond: "1.2s", 61234 * time.Millisecond: "1m1s", -1234 * time.Millisecond: "-1.2s",
	} {
		if got := about(d).String(); got != want {
			t.Errorf("%s: expected %s, found %s", d, want, got)
		}
	}
}
