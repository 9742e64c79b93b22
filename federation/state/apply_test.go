package state

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/google/go-cmp/cmp"
)

func TestNothingHappensBeforeTheRegionIsFounded(t *testing.T) {
	r := newRig(t)
	r.refuse(&AddCluster{Cluster: "west-1"}, ErrNotFounded)
	if _, ok := r.s.Export(); ok {
		t.Fatal("an unfounded region exports")
	}
}

func TestFoundingIsIdempotentForTheFounderOnly(t *testing.T) {
	r := founded(t)
	if _, delta := r.ok(foundUSWest()); delta != nil {
		t.Fatal("repeating it changed something")
	}
	other := foundUSWest()
	other.Founder = "someone else"
	r.refuse(other, ErrFounded)
}

func TestEveryExportedChangeIsExactlyOneDelta(t *testing.T) {
	r := founded(t)
	before := r.s.Version()
	_, delta := r.ok(putSet("west-1", "file", "checkout", "e1", "e2"))
	if delta == nil || delta.Version.Seq != before.Seq+1 || len(delta.Upserts) != 1 {
		t.Fatalf("delta %+v after %v", delta, before)
	}
	if _, delta := r.ok(putSet("west-1", "file", "checkout", "e1", "e2")); delta != nil {
		t.Fatal("an identical write made a delta")
	}
	if _, delta := r.ok(&CreateToken{ID: "t", Hash: sum("s"), Purpose: "replica", Expires: epoch0.Add(time.Hour)}); delta != nil {
		t.Fatal("a token, which is not exported, made a delta")
	}
	if got := r.s.Version().Seq; got != before.Seq+1 {
		t.Fatalf("seq %d, expected %d", got, before.Seq+1)
	}
}

func TestARepeatedCommandIDReturnsTheRecordedResult(t *testing.T) {
	r := founded(t)
	first, _, err := r.doID("same", &GrantLease{Cluster: "west-1", Owner: "a"})
	if err != nil {
		t.Fatal(err)
	}
	again, delta, _ := r.doID("same", &GrantLease{Cluster: "west-1", Owner: "a"})
	if diff := cmp.Diff(first, again); diff != "" || delta != nil {
		t.Fatalf("a retry ran again: %s", diff)
	}
	if got := r.s.Cluster("west-1").HealthTerm; got != 256 {
		t.Fatalf("term %d, expected 256", got)
	}
}

func TestDedupeIsBounded(t *testing.T) {
	r := founded(t)
	for range dedupeLimit + 10 {
		r.ok(&Audit{Action: "x", Target: "y"})
	}
	if len(r.s.seen.items) != dedupeLimit || len(r.s.seen.order) != dedupeLimit {
		t.Fatalf("%d ids remembered", len(r.s.seen.items))
	}
}

func TestOnlyRegisteredServersSpeakRaft(t *testing.T) {
	if !NewState().Admits("leader.disk") {
		t.Fatal("a new replica must hear its leader")
	}
	s := founded(t).s
	if !s.Admits("a.da") || s.Admits("a.other") || s.Admits("b.db") {
		t.Fatal("a server that is not registered is admitted")
	}
}

func TestReplicaNames(t *testing.T) {
	r := founded(t)
	r.ok(&AdmitReplica{replica("b", "west-2")})
	if r.s.Cluster("west-2") == nil {
		t.Fatal("the replica's cluster is not known")
	}
	if _, delta := r.ok(&AdmitReplica{replica("b", "west-2")}); delta != nil {
		t.Fatal("admitting the same key twice changed something")
	}
	stranger := replica("b", "west-2")
	stranger.PublicKey = []byte("another")
	r.refuse(&AdmitReplica{stranger}, ErrNameTaken)
	foreign := replica("c", "west-2")
	foreign.Region = "eu-central"
	r.refuse(&AdmitReplica{foreign}, ErrInvalid)
	r.ok(&GrantLease{Cluster: "west-2", Owner: "b"})
	r.ok(&RemoveReplica{Name: "b"})
	if c := r.s.Cluster("west-2"); c.HealthOwner != "" || c.HealthTerm != 256 {
		t.Fatalf("the lease of a removed replica stays: %+v", c)
	}
	r.ok(&RemoveReplica{Name: "b"})
	r.refuse(&UpdateReplica{replica("b", "west-2")}, ErrNotFound)
	r.ok(&AdmitReplica{stranger})
}

func TestUpdateReplicaKeepsWhatItMayNotChange(t *testing.T) {
	r := founded(t)
	next := replica("a", "elsewhere")
	next.PeerAddress, next.PublicKey, next.Recipient = "127.0.0.1:9", nil, ""
	r.ok(&UpdateReplica{next})
	got := r.s.Replica("a")
	if got.Cluster != "west-1" || got.PeerAddress != "127.0.0.1:9" || string(got.PublicKey) != "key-a" || got.Recipient != "age1a" || !got.JoinedAt.Equal(epoch0) {
		t.Fatalf("%+v", got)
	}
}

func TestASourceOwnsItsServices(t *testing.T) {
	r := founded(t)
	r.ok(putSet("west-1", "file", "checkout", "e1"))
	r.refuse(putSet("west-1", "api", "checkout", "e9"), ErrSourceTaken)
	r.refuse(&PutSets{Cluster: "west-1", Source: "api", Deletes: []catalog.ServiceName{service("checkout")}}, ErrSourceTaken)
	r.refuse(putSet("nowhere", "file", "checkout", "e1"), ErrNotFound)
	// One refused set refuses the whole command.
	both := putSet("west-1", "api", "cart", "e1")
	both.Upserts = append(both.Upserts, set("west-1", "api", "checkout", "e1"))
	r.refuse(both, ErrSourceTaken)
	_, delta := r.ok(&PutSets{Cluster: "west-1", Source: "file", Deletes: []catalog.ServiceName{service("checkout"), service("never-there")}})
	if len(delta.Deletes) != 1 {
		t.Fatalf("%+v", delta)
	}
	r.ok(putSet("west-1", "api", "checkout", "e9"))
}

func TestAnOldTermIsFencedOff(t *testing.T) {
	r := founded(t)
	r.ok(&GrantLease{Cluster: "west-1", Owner: "a"})
	r.ok(&GrantLease{Cluster: "west-1", Owner: "a"})
	stale := putSet("west-1", "file", "checkout", "e1")
	stale.Term = 256
	r.refuse(stale, ErrStale)
	stale.Term = 512
	r.ok(stale)
	r.refuse(&SetClusterStatus{Cluster: "west-1", SourceError: "gone", Term: 256}, ErrStale)
	r.refuse(&GrantLease{Cluster: "west-1", Owner: "stranger"}, ErrNotFound)
	r.refuse(&GrantLease{Cluster: "west-1", Owner: "a", Expect: ptr(uint64(256))}, ErrConflict)
}

func TestFoldedHealth(t *testing.T) {
	r := founded(t)
	r.ok(putSet("west-1", "file", "checkout", "e1", "e2"))
	r.ok(&GrantLease{Cluster: "west-1", Owner: "a"})
	key := catalog.SetKey{Cluster: "west-1", Service: service("checkout")}
	fold := func(term, seq uint64, endpoint string) *FoldHealth {
		v := catalog.HealthVersion{Epoch: 1, Term: term, Seq: seq}
		return &FoldHealth{Cluster: "west-1", Owner: "a", UpTo: v, Changes: []catalog.HealthChange{
			{Service: service("checkout"), Endpoint: endpoint, Health: catalog.Unhealthy, Version: v}}}
	}
	_, delta := r.ok(fold(256, 1, "e1"))
	if len(delta.Upserts) != 2 || r.s.Health(key).Health["e1"] != catalog.Unhealthy {
		t.Fatalf("%+v", delta)
	}
	r.ok(fold(256, 2, "unknown-endpoint"))
	if len(r.s.Health(key).Health) != 1 {
		t.Fatal("an unknown endpoint has health")
	}
	r.refuse(fold(256, 1, "e2"), ErrStale) // folded already up to 2
	r.refuse(fold(255, 9, "e2"), ErrStale) // an earlier lease
	r.refuse(fold(600, 1, "e2"), ErrInvalid)
	r.ok(fold(258, 1, "e2")) // a takeover of this lease
	if c := r.s.Cluster("west-1"); c.HealthTerm != 258 || c.Confirmed.Seq != 1 {
		t.Fatalf("%+v", c)
	}
	r.refuse(fold(257, 5, "e2"), ErrStale) // the lower-ranked takeover
	other := fold(258, 2, "e1")
	other.UpTo.Epoch, other.Changes[0].Version.Epoch = 2, 2
	r.refuse(other, ErrStale)
	// The next lease is above every takeover.
	r.ok(&GrantLease{Cluster: "west-1", Owner: "a"})
	if got := r.s.Cluster("west-1").HealthTerm; got != 512 {
		t.Fatalf("term %d", got)
	}
	// An endpoint that moves or goes starts over, one that stays keeps its health.
	moved := putSet("west-1", "file", "checkout", "e2", "e1")
	moved.Upserts[0].Endpoints = moved.Upserts[0].Endpoints[1:] // e1 alone, at e2's address
	r.ok(moved)
	if r.s.Health(key) != nil {
		t.Fatalf("%+v", r.s.Health(key))
	}
}

func TestClusterStatusAndRemoval(t *testing.T) {
	r := founded(t)
	r.ok(&SetClusterStatus{Cluster: "west-1", SourceError: "API server unreachable"})
	r.now = r.now.Add(time.Minute)
	r.ok(&SetClusterStatus{Cluster: "west-1", SourceError: "still unreachable"})
	if c := r.s.Cluster("west-1"); !c.StaleSince.Equal(epoch0) {
		t.Fatalf("stale since %v, expected the first loss", c.StaleSince)
	}
	r.ok(&SetClusterStatus{Cluster: "west-1"})
	if c := r.s.Cluster("west-1"); !c.StaleSince.IsZero() || c.SourceError != "" {
		t.Fatalf("%+v", c)
	}
	r.refuse(&RemoveCluster{Cluster: "west-1"}, ErrConflict)
	r.ok(&AddCluster{Cluster: "west-9"})
	r.ok(putSet("west-9", "api", "checkout", "e1"))
	_, delta := r.ok(&RemoveCluster{Cluster: "west-9"})
	if len(delta.Deletes) != 2 {
		t.Fatalf("%+v", delta)
	}
}

func TestSecretsAreComparedAndSet(t *testing.T) {
	r := founded(t)
	write := func(expect uint64) *PutSecrets {
		return &PutSecrets{Secrets: []SecretWrite{{Name: "keyring", Blob: []byte("sealed"), Recipients: []string{"age1a"}, Expect: expect}}}
	}
	r.ok(write(0))
	r.refuse(write(0), ErrConflict)
	two := write(1)
	two.Secrets = append(two.Secrets, SecretWrite{Name: "ca", Blob: []byte("x"), Recipients: []string{"y"}, Expect: 7})
	r.refuse(two, ErrConflict)
	r.ok(write(1))
	if s, ok := r.s.Secret("keyring"); !ok || s.Generation != 2 {
		t.Fatalf("%+v", s)
	}
	if snap, _ := r.s.Export(); bytes.Contains(encodeValue(snap), []byte("sealed")) {
		t.Fatal("secrets are exported")
	}
}

func TestTheProtocolNeverRisesAboveTheOldestReplica(t *testing.T) {
	r := founded(t)
	r.refuse(&RaiseProtocol{Protocol: 2}, ErrProtocol)
	newer := replica("a", "west-1")
	newer.MaxProtocol = 2
	r.ok(&UpdateReplica{newer})
	r.ok(&RaiseProtocol{Protocol: 2})
	r.refuse(&AdmitReplica{replica("b", "west-1")}, ErrProtocol)
	r.refuse(&UpdateReplica{replica("a", "west-1")}, ErrProtocol)
	r.refuse(&RaiseProtocol{Protocol: 1}, ErrProtocol)
}

func TestAnUnknownCommandStopsTheState(t *testing.T) {
	r := founded(t)
	before := snapshotOf(t, r.s)
	for name, env := range map[string]Envelope{
		"newer version": {Type: TypeAudit, Version: Protocol + 1, Meta: Meta{ID: "x"}, Body: []byte(`{}`)},
		"unknown type":  {Type: "dance", Version: 1, Meta: Meta{ID: "x"}, Body: []byte(`{}`)},
		"unknown field": {Type: TypeAudit, Version: 1, Meta: Meta{ID: "x"}, Body: []byte(`{"action":"a","target":"b","mood":1}`)},
	} {
		if _, _, err := r.s.Apply(env); !errors.Is(err, ErrHalted) {
			t.Errorf("%s: expected a halt, found %v", name, err)
		}
	}
	if !bytes.Equal(before, snapshotOf(t, r.s)) {
		t.Fatal("it was not left alone")
	}
}

func TestTheAuditLogIsARingThatSaysWhoAndWhence(t *testing.T) {
	r := founded(t)
	for i := range AuditLimit + 5 {
		r.ok(&Audit{Action: "drill", Target: fmt.Sprint(i)})
	}
	log := r.s.Audit(0)
	last := log[len(log)-1]
	if len(log) != AuditLimit || last.Actor != "op" || last.From != "here" || last.Target != fmt.Sprint(AuditLimit+4) || last.Seq != AuditLimit+6 {
		t.Fatalf("%d entries, last %+v", len(log), last)
	}
}

func TestErrorsKeepTheirMeaningWhenForwarded(t *testing.T) {
	r := founded(t)
	result, _, err := r.do(&RevokeToken{ID: "nope"})
	if !errors.Is(err, ErrTokenUnknown) || !errors.Is(FromCode(result.Code, result.Message), ErrTokenUnknown) {
		t.Fatalf("%v", err)
	}
	if errors.Is(err, ErrTokenUsed) || FromCode("", "") != nil || CodeOf(nil) != "" || CodeOf(errors.New("x")) != "internal" {
		t.Fatal("codes are confused")
	}
	if CodeOf(&NotLeaderError{Leader: "b"}) != ErrNotLeader.Code || !errors.Is(&NotLeaderError{}, ErrNotLeader) {
		t.Fatal("NotLeaderError has no code")
	}
}

func TestANewEpochStartsTheSequenceOver(t *testing.T) {
	r := founded(t)
	r.ok(putSet("west-1", "file", "checkout", "e1"))
	if err := r.s.startOver(OfflineOptions{RaftID: "a.da"}); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.s.Export(); ok {
		t.Fatal("it publishes without its new epoch")
	}
	if len(r.s.Own().Records) == 0 {
		t.Fatal("its own replicas have nothing to serve")
	}
	r.refuse(&SetEpoch{Epoch: 1}, ErrStale)
	old := r.s.Version()
	r.ok(&SetEpoch{Epoch: 2})
	snap, ok := r.s.Export()
	if !ok || snap.Version != (catalog.Version{Epoch: 2}) {
		t.Fatalf("%v %v", snap.Version, ok)
	}
	if _, ok := r.s.DeltasSince(old); ok {
		t.Fatal("a stream resumed across epochs")
	}
	if _, delta := r.ok(&AddCluster{Cluster: "west-3"}); delta.Version != (catalog.Version{Epoch: 2, Seq: 1}) {
		t.Fatalf("%v", delta.Version)
	}
}

func TestBoundsAreRefusedBeforeTheyAreLogged(t *testing.T) {
	big := putSet("west-1", "file", "checkout")
	for i := range maxEndpoints + 1 {
		e := set("west-1", "file", "checkout", "e").Endpoints[0]
		e.ID = fmt.Sprint(i)
		big.Upserts[0].Endpoints = append(big.Upserts[0].Endpoints, e)
	}
	twice := putSet("west-1", "file", "checkout", "e1", "e1")
	for name, cmd := range map[string]Command{
		"too many endpoints": big, "endpoint twice": twice,
		"no label":                        &RemoveReplica{Name: "NO"},
		"long detail":                     &Audit{Action: strings.Repeat("x", 600), Target: "t"},
		"no secrets":                      &PutSecrets{},
		"spec that no other region takes": &PutObject{ObjectKey: policy("default"), Spec: []byte(`"` + strings.Repeat("x", catalog.MaxSpec-1) + `"`)},
		"spec too long":                   &PutObject{ObjectKey: policy("default"), Spec: []byte(`"` + strings.Repeat("x", maxSpec) + `"`)},
		"hash too short":                  &CreateToken{ID: "t", Purpose: "p", Hash: []byte("short")},
		"other's set":                     &PutSets{Cluster: "west-2", Source: "file", Upserts: []catalog.EndpointSet{set("west-1", "file", "checkout")}},
		"no such version":                 &RaiseProtocol{},
	} {
		if _, err := NewEnvelope(Meta{ID: "x"}, cmd); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
