package checker_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/federator/federator/test/lab/checker"
)

// server answers DNS on loopback as handle says, until the test ends.
func server(t *testing.T, handle dns.HandlerFunc) checker.Target {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	s := &dns.Server{PacketConn: socket, Handler: handle, NotifyStartedFunc: func() { close(ready) }}
	done := make(chan error, 1)
	go func() { done <- s.ActivateAndServe() }()
	<-ready
	t.Cleanup(func() {
		if err := s.Shutdown(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return checker.Target{Region: "west", Name: "west-0", DNS: socket.LocalAddr().String()}
}

var oneEndpoint = []checker.Endpoint{{Name: "a.", Address: "10.0.0.1", Region: "west"}}

// probe runs a prober until it has asked so much.
func probe(t *testing.T, p *checker.DNSProber, enough func() bool) checker.Report {
	t.Helper()
	stop := checker.Together(t.Context(), p)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !enough() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Error("the prober did not get so far in time")
	}
	return stop()[0]
}

func TestAServerThatDoesNotAnswerDoesNotSlowTheQuestions(t *testing.T) {
	var asked atomic.Int64
	target := server(t, func(dns.ResponseWriter, *dns.Msg) { asked.Add(1) })
	p := checker.NewDNSProber(checker.DNSOptions{Targets: []checker.Target{target}, Endpoints: oneEndpoint, Every: 5 * time.Millisecond, Timeout: 500 * time.Millisecond})
	report := probe(t, p, func() bool { return asked.Load() >= 30 }) // 30 in a row would take 15 s
	if tally := p.Tally(); report.Total != tally.Asked || tally.NoAnswer != tally.Asked || tally.Asked < 30 {
		t.Errorf("expected every question to be unanswered, found %v", report)
	}
}

func TestQuestionsInFlightAreBoundedAndWhatWasLeftOutIsAViolation(t *testing.T) {
	var asked atomic.Int64
	target := server(t, func(dns.ResponseWriter, *dns.Msg) { asked.Add(1) })
	began := time.Now()
	p := checker.NewDNSProber(checker.DNSOptions{Targets: []checker.Target{target}, Endpoints: oneEndpoint, Every: time.Millisecond, Timeout: 2 * time.Second, InFlight: 3})
	report := probe(t, p, func() bool { return asked.Load() >= 3 && time.Since(began) > 100*time.Millisecond })
	if n := p.Tally().Asked; n > 3 || report.Total != n+1 {
		t.Errorf("expected three unanswered questions and the others left out, found %v", report)
	}
}

func TestAnswersAndTheirStalenessAreRead(t *testing.T) {
	target := server(t, func(w dns.ResponseWriter, q *dns.Msg) {
		reply := new(dns.Msg).SetReply(q)
		reply.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "a.", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}, A: net.IPv4(10, 0, 0, 1)}}
		reply.SetEdns0(1232, false)
		reply.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeStaleAnswer}}
		_ = w.WriteMsg(reply) // the prober says so if it does not come
	})
	p := checker.NewDNSProber(checker.DNSOptions{Targets: []checker.Target{target}, Endpoints: oneEndpoint, Every: time.Millisecond})
	report := probe(t, p, func() bool { return len(p.Answers()) >= 5 })
	if tally := p.Tally(); !report.OK() || tally.Stale != tally.Asked || tally.Right != tally.Asked {
		t.Errorf("expected right answers that say they are stale, found %v", report)
	}
}
