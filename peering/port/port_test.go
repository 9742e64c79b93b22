package port_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/identity"
	"github.com/federator/federator/peering/internal/peertest"
	"github.com/federator/federator/peering/port"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// patience is how long what is to happen may take.
const patience = 30 * time.Second

var anyReplica = identity.AllowReplica(peertest.TrustDomain)

func pins(d *peertest.Domain) identity.Pins {
	return identity.Pins{TrustDomain: peertest.TrustDomain, Roots: d.Pins()}
}

// echo serves a listener by sending back what it gets, and reports the peers.
func echo(t *testing.T, l net.Listener) <-chan identity.ID {
	t.Helper()
	peers := make(chan identity.ID, 64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			id, _ := c.(*port.Conn).Peer()
			peers <- id
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return peers
}

func roundTrip(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 5))
	return err
}

func TestEachProtocolReachesItsOwnListener(t *testing.T) {
	d := peertest.New(t)
	server, client := d.Replica("us-west", "a", time.Now()), d.Replica("us-west", "b", time.Now())
	p := server.Port(nil)
	for _, protocol := range []string{port.Raft, port.Gossip, port.GRPC} {
		peers := echo(t, p.Listener(protocol))
		c, err := client.Dialer().Dial(t.Context(), protocol, p.Addr().String(), anyReplica)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := roundTrip(c); err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		if got := <-peers; got != client.ID {
			t.Errorf("%s: expected peer %s, found %s", protocol, client.ID, got)
		}
		if got, _ := c.Peer(); got != server.ID {
			t.Errorf("%s: expected server %s, found %s", protocol, server.ID, got)
		}
	}
}

func TestAReplicaOfAnotherRegionCannotSpeakRaft(t *testing.T) {
	d := peertest.New(t)
	p := d.Replica("us-west", "a", time.Now()).Port(nil)
	echo(t, p.Listener(port.Raft))
	c, err := d.Replica("eu-central", "b", time.Now()).Dialer().Dial(t.Context(), port.Raft, p.Addr().String(), anyReplica)
	if err != nil {
		return
	}
	defer c.Close()
	if err := roundTrip(c); err == nil {
		t.Error("expected the connection to be refused")
	}
}

func TestAClientWithoutACertificateReachesEnrolmentOnly(t *testing.T) {
	d := peertest.New(t)
	p := d.Replica("us-west", "a", time.Now()).Port(nil)
	for _, protocol := range []string{port.Raft, port.Gossip, port.GRPC, port.Enroll} {
		peers := echo(t, p.Listener(protocol))
		c, err := port.DialTLS(t.Context(), p.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}, 0)
		if err == nil {
			defer c.Close()
			err = roundTrip(c)
		}
		if protocol != port.Enroll {
			if err == nil {
				t.Errorf("%s: expected a refusal without a certificate", protocol)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		if id := <-peers; id != (identity.ID{}) {
			t.Errorf("expected no identity, found %s", id)
		}
	}
}

func TestAClientHasToNameExactlyOneKnownProtocol(t *testing.T) {
	d := peertest.New(t)
	p := d.Replica("us-west", "a", time.Now()).Port(nil)
	client := d.Replica("us-west", "b", time.Now())
	for _, protocols := range [][]string{nil, {"http/1.1"}, {port.Enroll, port.GRPC}, {port.GRPC, "x"}} {
		config := client.TLS().Client(port.GRPC, anyReplica)
		config.NextProtos = protocols
		c, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", p.Addr().String())
		if err == nil {
			_ = c.Close()
			t.Errorf("%v: expected a refusal", protocols)
		}
	}
}

func TestTLS12IsRefused(t *testing.T) {
	d := peertest.New(t)
	p := d.Replica("us-west", "a", time.Now()).Port(nil)
	config := d.Replica("us-west", "b", time.Now()).TLS().Client(port.GRPC, anyReplica)
	config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if c, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", p.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("expected a refusal")
	}
}

func TestAReplicaOfAnotherTrustDomainIsRefusedBothWays(t *testing.T) {
	p := peertest.New(t).Replica("us-west", "a", time.Now()).Port(nil)
	echo(t, p.Listener(port.GRPC))
	stranger := peertest.New(t).Replica("us-west", "b", time.Now())
	if c, err := stranger.Dialer().Dial(t.Context(), port.GRPC, p.Addr().String(), anyReplica); err == nil {
		_ = c.Close()
		t.Error("the client: expected to refuse the server")
	}
	config := stranger.TLS().Client(port.GRPC, anyReplica)
	config.VerifyConnection = nil
	c, err := port.DialTLS(t.Context(), p.Addr().String(), config, 0)
	if err == nil {
		defer c.Close()
		err = roundTrip(c)
	}
	if err == nil {
		t.Error("the server: expected to refuse the client")
	}
}

func TestAnOpenConnectionIsClosedWhenItsPeerIsRevoked(t *testing.T) {
	d := peertest.New(t)
	server, client, other := d.Replica("us-west", "a", time.Now()), d.Replica("us-west", "b", time.Now()), d.Replica("us-west", "c", time.Now())
	p := server.Port(nil)
	echo(t, p.Listener(port.Raft))
	dial := func(r *peertest.Party) *port.Conn {
		c, err := r.Dialer().Dial(t.Context(), port.Raft, p.Addr().String(), anyReplica)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := roundTrip(c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	bad, good := dial(client), dial(other)

	d.Revoke(client)
	_ = bad.SetDeadline(time.Now().Add(patience))
	if _, err := bad.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("expected the revoked peer's connection to be closed, found %v", err)
	}
	if err := roundTrip(good); err != nil {
		t.Errorf("expected the other connection to live, found %v", err)
	}
	if c, err := client.Dialer().Dial(t.Context(), port.Raft, p.Addr().String(), anyReplica); err == nil {
		defer c.Close()
		if roundTrip(c) == nil {
			t.Error("expected a new connection of the revoked peer to be refused")
		}
	}
}

func TestADialledConnectionIsClosedWhenTheServerIsRevoked(t *testing.T) {
	d := peertest.New(t)
	server, client := d.Replica("us-west", "a", time.Now()), d.Replica("us-west", "b", time.Now())
	p := server.Port(nil)
	echo(t, p.Listener(port.Raft))
	c, err := client.Dialer().Dial(t.Context(), port.Raft, p.Addr().String(), anyReplica)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d.Revoke(server)
	if err := roundTrip(c); err == nil {
		t.Error("expected the connection to be closed")
	}
}

func TestASilentClientIsDroppedAndItsPlaceFreed(t *testing.T) {
	d := peertest.New(t)
	p := d.Replica("us-west", "a", time.Now()).Port(func(o *port.Options) {
		o.HandshakeTimeout, o.MaxHandshakes = 500*time.Millisecond, 2
	})
	peers := echo(t, p.Listener(port.GRPC))
	silent, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_ = silent.SetDeadline(time.Now().Add(patience))
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("expected the silent client to be dropped, found %v", err)
	}
	other := d.Replica("us-west", "b", time.Now()).Dialer()
	eventually(t, "the silent client's place is free", func() bool {
		c, err := other.Dial(t.Context(), port.GRPC, p.Addr().String(), anyReplica)
		if err != nil {
			return false
		}
		defer c.Close()
		// That it is connected the client knows before the server has seen who it is.
		return roundTrip(c) == nil
	})
	<-peers
}

// eventually waits for a condition, for as long as only a broken test needs.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("it never happened that " + what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestGarbageNeverReachesAListener(t *testing.T) {
	d := peertest.New(t)
	p := d.Replica("us-west", "a", time.Now()).Port(nil)
	peers := echo(t, p.Listener(port.GRPC))
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff", "\x00", strings.Repeat("A", 1<<16)} {
		c, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(garbage))
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	if len(peers) != 0 {
		t.Error("garbage was accepted")
	}
}

func TestOneAddressCannotHoldManyEnrolments(t *testing.T) {
	d := peertest.New(t)
	p := d.Replica("us-west", "a", time.Now()).Port(func(o *port.Options) { o.MaxEnroll, o.EnrollBurst = 2, 100_000 })
	echo(t, p.Listener(port.Enroll))
	dial := func() (net.Conn, error) {
		c, err := port.DialTLS(t.Context(), p.Addr().String(), pins(d).ClientTLS(port.Enroll), 0)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { _ = c.Close() })
		return c, roundTrip(c)
	}
	first, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(); err != nil {
		t.Fatal(err)
	}
	if _, err := dial(); err == nil {
		t.Fatal("the third: expected a refusal")
	}
	_ = first.Close()
	eventually(t, "a closed enrolment gives its place back", func() bool {
		_, err := dial()
		return err == nil
	})
}

func TestOneAddressCannotEnrolTooOften(t *testing.T) {
	d := peertest.New(t)
	p := d.Replica("us-west", "a", time.Now()).Port(func(o *port.Options) { o.EnrollRate, o.EnrollBurst = 0.001, 3 })
	echo(t, p.Listener(port.Enroll))
	refused := 0
	for range 6 {
		c, err := port.DialTLS(t.Context(), p.Addr().String(), pins(d).ClientTLS(port.Enroll), 0)
		if err != nil {
			refused++
			continue
		}
		_ = c.Close()
	}
	if refused != 3 {
		t.Errorf("expected 3 of 6 refused, found %d", refused)
	}
}

func TestDiallingTellsWhatIsWrong(t *testing.T) {
	dialer := peertest.New(t).Replica("us-west", "a", time.Now()).Dialer()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	_, err = dialer.Dial(t.Context(), port.GRPC, address, anyReplica)
	if !errors.Is(err, port.ErrUnreachable) || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("expected the address and that it refused, found %v", err)
	}
}

func TestAListenerEndsWithItsPort(t *testing.T) {
	p := peertest.New(t).Replica("us-west", "a", time.Now()).Port(nil)
	l := p.Listener(port.Raft)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("expected net.ErrClosed, found %v", err)
	}
}

func TestRenewalCutsNoConnection(t *testing.T) {
	d := peertest.New(t)
	server, client := d.Replica("us-west", "a", time.Now()), d.Replica("us-west", "b", time.Now())
	p := server.Port(nil)
	echo(t, p.Listener(port.Raft))
	dial := func() *port.Conn {
		c, err := client.Dialer().Dial(t.Context(), port.Raft, p.Addr().String(), anyReplica)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	before := dial()
	for _, r := range []*peertest.Party{server, client} {
		d.Renew(r)
	}
	d.Region("eu-central") // a change of the trust list
	for _, c := range []*port.Conn{before, dial()} {
		if err := roundTrip(c); err != nil {
			t.Error(err)
		}
	}
}
