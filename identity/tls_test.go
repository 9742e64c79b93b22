package identity

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

const mTLS, enrol = "h2", "fed-enroll"

// echoServer echoes on loopback until the test ends; errs gets each handshake's outcome.
type echoServer struct {
	addr string
	errs chan error
	wait sync.WaitGroup
}

func serveEcho(t *testing.T, conf *tls.Config, track func(*tls.Conn) func()) *echoServer {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	s := &echoServer{addr: l.Addr().String(), errs: make(chan error, 256)}
	s.wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.wait.Go(func() { s.echo(tls.Server(conn, conf), track) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); s.wait.Wait() })
	return s
}

func (s *echoServer) echo(conn *tls.Conn, track func(*tls.Conn) func()) {
	defer conn.Close()
	err := conn.Handshake()
	s.errs <- err
	if err != nil {
		return
	}
	if track != nil {
		defer track(conn)()
	}
	_, _ = io.Copy(conn, conn)
}

// dial makes a connection and proves that both sides accepted it.
func (s *echoServer) dial(t *testing.T, conf *tls.Config) (*tls.Conn, error) {
	t.Helper()
	raw := must(net.Dial("tcp", s.addr))(t)
	conn := tls.Client(raw, conf)
	t.Cleanup(func() { _ = conn.Close() })
	err := conn.Handshake()
	if err == nil {
		err = ping(conn)
	}
	return conn, errors.Join(err, <-s.errs)
}

func ping(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

func (w *world) tls(s *Source) TLS {
	return TLS{Source: s, Verifier: w.trust, Now: func() time.Time { return w.now }}
}

func TestAConnectionProvesBothSides(t *testing.T) {
	w := newWorld(t, time.Now())
	server, client := w.replica(w.west, "a", 0), w.replica(w.east, "b", 0)
	var mu sync.Mutex
	var seen ID
	s := serveEcho(t, w.tls(server).Server(map[string]Authoriser{mTLS: AllowReplica(td)}, enrol), func(c *tls.Conn) func() {
		mu.Lock()
		defer mu.Unlock()
		seen, _ = PeerID(c.ConnectionState())
		return func() {}
	})
	conn, err := s.dial(t, w.tls(client).Client(mTLS, AllowRegion(td, "us-west")))
	check(t, err)
	if id := must(PeerID(conn.ConnectionState()))(t); id != ReplicaID(td, "us-west", "a") {
		t.Fatalf("the client met %s", id)
	}
	mu.Lock()
	defer mu.Unlock()
	if seen != ReplicaID(td, "asia-east", "b") {
		t.Fatalf("the server met %s", seen)
	}
}

func TestAConnectionIsRefusedToTheWrongPeer(t *testing.T) {
	w := newWorld(t, start.Add(-24*time.Hour))
	w.now = start
	server, client := w.replica(w.west, "a", 0), w.replica(w.east, "b", 0)
	expired := must(NewSource())(t)
	w.certify(expired, w.west, "late", time.Hour, w.now.Add(-100*time.Minute))
	rogue := w.intermediate(w.root, "us-west", 8)
	s := serveEcho(t, w.tls(server).Server(map[string]Authoriser{mTLS: AllowReplica(td), "fed-raft": AllowRegion(td, "us-west")}, enrol), nil)
	bare := w.tls(client).Client(mTLS, AllowReplica(td))
	bare.GetClientCertificate = nil
	old := w.tls(client).Client(mTLS, AllowReplica(td))
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	silent := w.tls(client).Client(mTLS, AllowReplica(td))
	silent.NextProtos = nil
	cases := map[string]struct {
		conf *tls.Config
		want string
	}{
		"a server of another region":    {w.tls(client).Client(mTLS, AllowRegion(td, "asia-east")), "expected a replica of region asia-east"},
		"a client of another region":    {w.tls(client).Client("fed-raft", AllowReplica(td)), "expected a replica of region us-west"},
		"an unknown protocol":           {w.tls(client).Client("http/1.1", AllowReplica(td)), "no common ALPN"},
		"no protocol":                   {silent, "no common ALPN"},
		"TLS 1.2":                       {old, "protocol version"},
		"no client certificate":         {bare, "didn't provide a certificate"},
		"an expired client":             {w.tls(expired).Client(mTLS, AllowReplica(td)), "at least 40m"},
		"an unlisted intermediate":      {w.tls(w.replica(rogue, "c", 0)).Client(mTLS, AllowReplica(td)), "not in the trust list"},
		"enrolment by list, not by pin": {w.tls(client).Client(enrol, AllowOperator(td)), "expected an operator"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := s.dial(t, c.conf)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("expected %q, found %v", c.want, err)
			}
		})
	}
}

func TestEnrolmentNeedsAPinAndNoCertificate(t *testing.T) {
	w := newWorld(t, time.Now())
	s := serveEcho(t, w.tls(w.replica(w.west, "a", 0)).Server(map[string]Authoriser{mTLS: AllowReplica(td)}, enrol), nil)
	pins := Pins{TrustDomain: td, Roots: []KeyID{w.root.KeyID()}}
	conn, err := s.dial(t, pins.ClientTLS(enrol))
	check(t, err)
	if p := must(pins.VerifyPeer(conn.ConnectionState()))(t); p.ID.Name != "a" {
		t.Fatalf("found %+v", p)
	}
	if _, err := PeerID(tls.ConnectionState{}); err == nil {
		t.Fatal("an anonymous peer has an ID")
	}
	wrong := Pins{TrustDomain: td, Roots: []KeyID{w.west.KeyID()}}
	if _, err := s.dial(t, wrong.ClientTLS(enrol)); err == nil || !strings.Contains(err.Error(), "that is pinned") {
		t.Fatalf("a wrong pin: %v", err)
	}
	if _, err := s.dial(t, pins.ClientTLS(mTLS)); err == nil {
		t.Fatal("a client without a certificate got past enrolment")
	}
}

func TestAClientOfADroppedRootCannotResume(t *testing.T) {
	w := newWorld(t, time.Now())
	next := must(NewRoot(td, w.now))(t)
	nextWest := w.intermediate(next, "us-west", 1)
	w.revise(func(l *List) {
		l.Roots = append(l.Roots, next.Certificate.Raw)
		l.Intermediates = append(l.Intermediates, listed(nextWest))
	})
	client := w.replica(w.east, "b", 0)
	s := serveEcho(t, w.tls(w.replica(nextWest, "a", 0)).Server(map[string]Authoriser{mTLS: AllowReplica(td)}), nil)
	conf := w.tls(client).Client(mTLS, AllowReplica(td))
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	_, err := s.dial(t, conf)
	check(t, err)
	w.root = next
	w.revise(func(l *List) {
		l.Roots = [][]byte{next.Certificate.Raw}
		l.Intermediates = []ListedIntermediate{listed(nextWest)}
	})
	if _, err = s.dial(t, conf); err == nil || !strings.Contains(err.Error(), "not in the trust list") {
		t.Fatalf("expected a full handshake and a refusal, found %v", err)
	}
}

func TestRevocationClosesOnlyTheRevokedPeersConnections(t *testing.T) {
	w := newWorld(t, time.Now())
	guard := NewGuard(w.trust)
	defer guard.Close()
	s := serveEcho(t, w.tls(w.replica(w.west, "a", 0)).Server(map[string]Authoriser{mTLS: AllowReplica(td)}), func(c *tls.Conn) func() {
		return guard.Track(c.NetConn(), c.ConnectionState())
	})
	bad, good := w.replica(w.east, "bad", 0), w.replica(w.east, "good", 0)
	badConn, err := s.dial(t, w.tls(bad).Client(mTLS, AllowReplica(td)))
	check(t, err)
	goodConn, err := s.dial(t, w.tls(good).Client(mTLS, AllowReplica(td)))
	check(t, err)
	// The good peer's certificate runs out meanwhile; its connection stays.
	w.now = w.now.Add(48 * time.Hour)
	w.revise(func(l *List) { l.Revoked = []Revocation{{KeyID: CertKeyID(bad.Leaf()), Reason: "stolen", At: w.now}} })
	if err := ping(badConn); err == nil {
		t.Fatal("the revoked peer's connection is still open")
	}
	check(t, ping(goodConn))
}

func TestAConnectionTrackedAfterItsRevocationIsClosed(t *testing.T) {
	w := newWorld(t, start)
	guard := NewGuard(w.trust)
	defer guard.Close()
	s := w.replica(w.west, "a", 0)
	w.revise(func(l *List) { l.Revoked = []Revocation{{KeyID: CertKeyID(s.Leaf()), At: start}} })
	near, far := net.Pipe()
	defer far.Close()
	cs := tls.ConnectionState{}
	for _, der := range s.Chain() {
		cs.PeerCertificates = append(cs.PeerCertificates, must(ParseCertificate(der))(t))
	}
	guard.Track(near, cs)()
	if _, err := far.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Fatalf("expected a closed connection, found %v", err)
	}
}

func TestRenewalDropsNoConnection(t *testing.T) {
	w := newWorld(t, time.Now())
	server, client := w.replica(w.west, "a", 0), w.replica(w.east, "b", 0)
	s := serveEcho(t, w.tls(server).Server(map[string]Authoriser{mTLS: AllowReplica(td)}), nil)
	conf := w.tls(client).Client(mTLS, AllowReplica(td))
	var conns []*tls.Conn
	for range 10 {
		for range 3 {
			conn, err := s.dial(t, conf)
			check(t, err)
			conns = append(conns, conn)
		}
		w.certify(server, w.west, "a", 0, w.now)
		w.certify(client, w.east, "b", 0, w.now)
		for _, conn := range conns {
			check(t, ping(conn))
		}
	}
	last, err := s.dial(t, conf)
	check(t, err)
	if !last.ConnectionState().PeerCertificates[0].Equal(server.Leaf()) {
		t.Fatal("a new connection was shown an old certificate")
	}
}
