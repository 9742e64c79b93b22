package identity

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/federator/federator/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

const td = "acme.example"

// start is when the test worlds begin.
var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// world is a small federation: a root, two regions and the list that says so.
type world struct {
	t     *testing.T
	now   time.Time
	root  *Root
	west  *Intermediate
	east  *Intermediate
	list  List
	trust *Verifier
}

func newWorld(t *testing.T, now time.Time) *world {
	t.Helper()
	w := &world{t: t, now: now}
	w.root = must(NewRoot(td, now))(t)
	w.west = w.intermediate(w.root, "us-west", 1)
	w.east = w.intermediate(w.root, "asia-east", 2)
	w.list = List{TrustDomain: td, Sequence: 1, Roots: [][]byte{w.root.Certificate.Raw}, IssuedAt: now,
		Intermediates: []ListedIntermediate{listed(w.west), listed(w.east)}}
	w.trust = NewVerifier(td, w.root.Certificate)
	w.publish()
	return w
}

func listed(i *Intermediate) ListedIntermediate {
	return ListedIntermediate{Region: i.Region, Epoch: i.Epoch, KeyID: i.KeyID()}
}

func (w *world) intermediate(root *Root, region string, epoch uint64) *Intermediate {
	w.t.Helper()
	key := must(NewKey())(w.t)
	cert := must(root.SignIntermediate(region, epoch, key.Public(), w.now))(w.t)
	return must(OpenIntermediate(cert.Raw, root.Certificate.Raw, must(MarshalKey(key))(w.t)))(w.t)
}

// publish signs the list as it stands and gives it to the verifier.
func (w *world) publish() []byte {
	w.t.Helper()
	signed := must(w.root.SignList(w.list))(w.t)
	must(w.trust.Update(signed))(w.t)
	return signed
}

// revise publishes a changed list of the next sequence.
func (w *world) revise(change func(*List)) []byte {
	w.t.Helper()
	w.list.Sequence++
	change(&w.list)
	return w.publish()
}

// replica returns a source with a certificate from the intermediate.
func (w *world) replica(by *Intermediate, name string, ttl time.Duration) *Source {
	w.t.Helper()
	s := must(NewSource())(w.t)
	w.certify(s, by, name, ttl, w.now)
	return s
}

func (w *world) certify(s *Source, by *Intermediate, name string, ttl time.Duration, now time.Time) {
	w.t.Helper()
	csr := must(s.Request(ReplicaID(td, by.Region, name), []string{name + ".example"}, nil))(w.t)
	raw := must(by.SignRequest(must(ParseRequest(csr))(w.t), ttl, now))(w.t)
	check(w.t, s.Replace(raw))
}

// forge signs any certificate at all with an authority's key.
func (w *world) forge(by *Intermediate, change func(*x509.Certificate)) [][]byte {
	w.t.Helper()
	template := leafTemplate(ReplicaID(td, by.Region, "a"), nil, nil, w.now, time.Hour)
	change(template)
	leaf := must(sign(template, by.Certificate, must(NewKey())(w.t).Public(), by.key))(w.t)
	return [][]byte{leaf.Raw, by.Certificate.Raw, by.Root.Raw}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIs(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("expected %q, found %v", target, err)
	}
}
