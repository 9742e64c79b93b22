package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

var epoch0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rig drives a State as Raft would, and counts its command ids.
type rig struct {
	t interface {
		Helper()
		Fatalf(string, ...any)
	}
	s   *State
	now time.Time
	n   int
}

func newRig(t *testing.T) *rig { return &rig{t: t, s: NewState(), now: epoch0} }

// founded returns a rig whose region is us-west, the authority, with one replica.
func founded(t *testing.T) *rig {
	r := newRig(t)
	r.ok(foundUSWest())
	return r
}

func foundUSWest() *Found {
	return &Found{TrustDomain: "acme.example", Region: "us-west", Epoch: 1, Authority: true, Founder: "f0", Replica: replica("a", "west-1")}
}

func replica(name, cluster string) catalog.Replica {
	return catalog.Replica{
		Name: name, Region: "us-west", Cluster: cluster, DiskID: "d" + name, PeerAddress: "127.0.0.1:7443",
		Recipient: "age1" + name, PublicKey: []byte("key-" + name), MinProtocol: 1, MaxProtocol: 1,
	}
}

func (r *rig) do(cmd Command) (Result, *catalog.Delta, error) {
	r.t.Helper()
	r.n++
	return r.doID(fmt.Sprint("id-", r.n), cmd)
}

func (r *rig) doID(id string, cmd Command) (Result, *catalog.Delta, error) {
	r.t.Helper()
	env, err := NewEnvelope(Meta{ID: id, Time: r.now, Actor: "op", From: "here"}, cmd)
	if err != nil {
		return Result{}, nil, err
	}
	encoded, err := env.Encode()
	if err != nil {
		return Result{}, nil, err
	}
	if env, err = DecodeEnvelope(encoded); err != nil {
		r.t.Fatalf("decode what was encoded: %v", err)
	}
	result, delta, err := r.s.Apply(env)
	if err != nil {
		r.t.Fatalf("apply %T: %v", cmd, err)
	}
	return result, delta, result.Err()
}

// ok runs a command that must be accepted.
func (r *rig) ok(cmd Command) (Result, *catalog.Delta) {
	r.t.Helper()
	result, delta, err := r.do(cmd)
	if err != nil {
		r.t.Fatalf("%T: %v", cmd, err)
	}
	return result, delta
}

// refuse runs a command that must be refused with the sentinel's code and change
// nothing.
func (r *rig) refuse(cmd Command, want *Error) {
	r.t.Helper()
	before := fingerprint(r.t, r.s)
	_, delta, err := r.do(cmd)
	if CodeOf(err) != want.Code {
		r.t.Fatalf("%T: expected %q, found %v", cmd, want.Code, err)
	}
	if delta != nil || !bytes.Equal(before, fingerprint(r.t, r.s)) {
		r.t.Fatalf("%T was refused and still changed the state", cmd)
	}
}

// fingerprint is the state without the memory of command ids.
func fingerprint(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *State) []byte {
	t.Helper()
	c := s.clone()
	c.seen = newFIFO[string, Result](dedupeLimit)
	return snapshotOf(t, c)
}

func snapshotOf(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *State) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := s.WriteSnapshot(&buf); err != nil {
		t.Fatalf("write snapshot: %v", err)
	}
	return buf.Bytes()
}

func service(name string) catalog.ServiceName {
	return catalog.ServiceName{Namespace: "shop", Name: name}
}

func set(cluster, source, name string, endpoints ...string) catalog.EndpointSet {
	s := catalog.EndpointSet{
		SetKey: catalog.SetKey{Cluster: cluster, Service: service(name)}, Source: source,
		Ports: []catalog.Port{{Name: "http", Protocol: catalog.TCP, Number: 80}}, CreatedAt: epoch0,
		Check: &catalog.Check{Kind: catalog.CheckTCP},
	}
	for i, id := range endpoints {
		s.Endpoints = append(s.Endpoints, catalog.Endpoint{ID: id, Address: netip.AddrFrom4([4]byte{127, 10, 0, byte(i + 1)}), Weight: 1})
	}
	return s
}

func putSet(cluster, source, name string, endpoints ...string) *PutSets {
	return &PutSets{Cluster: cluster, Source: source, Upserts: []catalog.EndpointSet{set(cluster, source, name, endpoints...)}}
}

func policy(name string) catalog.ObjectKey {
	return catalog.ObjectKey{Kind: catalog.KindPolicy, Name: name}
}

func spec(v string) json.RawMessage { return json.RawMessage(fmt.Sprintf(`{"v":%q}`, v)) }

func sum(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

func ptr[T any](v T) *T { return &v }
