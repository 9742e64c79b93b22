package state

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// head is the first frame of a state: what is there once.
type head struct {
	About    About  `json:"about"`
	Seq      uint64 `json:"seq"`
	Applied  uint64 `json:"applied"`
	AuditSeq uint64 `json:"auditSeq"`
	TrustGen uint64 `json:"trustGen"`
}

// The other frames of a state.
type (
	historyFrame struct {
		Key  catalog.ObjectKey `json:"key"`
		Lost []Overwritten     `json:"lost"`
	}
	graveFrame struct {
		Key     catalog.ObjectKey     `json:"key"`
		Version catalog.ObjectVersion `json:"version"`
	}
	ackedFrame struct {
		Key   catalog.ObjectKey `json:"key"`
		Since time.Time         `json:"since"`
	}
	registryFrame struct {
		Region string       `json:"region"`
		Note   registryNote `json:"note"`
	}
	seenFrame struct {
		ID     string `json:"id"`
		Result Result `json:"result"`
	}
)

// WriteSnapshot writes the state as a versioned, checksummed stream. Equal
// states write equal bytes.
func (s *State) WriteSnapshot(w io.Writer) error {
	f := newFrameWriter(w, magicSnapshot)
	s.write(f)
	return f.close()
}

func (s *State) write(f *frameWriter) {
	f.put("head", head{About: s.about, Seq: s.seq, Applied: s.applied, AuditSeq: s.auditSeq, TrustGen: s.trustGen})
	for _, kind := range slices.Sorted(maps.Keys(s.facts)) {
		for _, r := range collect(s, kind, func(r catalog.Record) catalog.Record { return r }) {
			f.put("record", r)
		}
	}
	for _, key := range sortedKeys(s.history) {
		f.put("history", historyFrame{key, s.history[key]})
	}
	for _, key := range s.graves.order {
		f.put("grave", graveFrame{key, s.graves.items[key]})
	}
	for _, key := range sortedKeys(s.acked) {
		f.put("acked", ackedFrame{key, s.acked[key]})
	}
	for _, secret := range s.Secrets() {
		f.put("secret", secret)
	}
	for _, token := range s.Tokens() {
		f.put("token", token)
	}
	for _, name := range slices.Sorted(maps.Keys(s.registry)) {
		f.put("registry", registryFrame{name, s.registry[name]})
	}
	for _, entry := range s.audit {
		f.put("audit", entry)
	}
	for _, id := range s.seen.order {
		f.put("seen", seenFrame{id, s.seen.items[id]})
	}
}

// ReadSnapshot reads what [State.WriteSnapshot] wrote. [ErrCorrupt] is damage;
// [ErrFormat] and [ErrProtocol] say that a newer build wrote it.
func ReadSnapshot(r io.Reader) (*State, error) {
	f, err := newFrameReader(r, magicSnapshot, "snapshot")
	if err != nil {
		return nil, err
	}
	return readState(f)
}

func readState(f *frameReader) (*State, error) {
	s := NewState()
	headed := false
	for {
		fr, err := f.next()
		if errors.Is(err, io.EOF) && headed {
			return s, nil
		}
		if errors.Is(err, io.EOF) {
			return nil, ErrCorrupt.withf("the stream has no head")
		}
		if err != nil {
			return nil, err
		}
		if headed == (fr.Kind == "head") {
			return nil, ErrCorrupt.withf("frame %d: expected one head, and first; found %q", f.count, clip(fr.Kind, 64))
		}
		headed = true
		if err := s.read(fr); err != nil {
			return nil, ErrCorrupt.withf("frame %d (%s): %v", f.count, clip(fr.Kind, 64), err)
		}
		if err := s.understoodBy(Protocol); err != nil {
			return nil, err // before a frame that this build does not know passes for damage
		}
	}
}

// understoodBy reports a state that has a newer protocol in force.
func (s *State) understoodBy(protocol int) error {
	if s.about.Protocol > protocol {
		return ErrProtocol.withf("the state has protocol %d in force, this build understands %d: upgrade this replica", s.about.Protocol, protocol)
	}
	return nil
}

// read enters one frame into the state.
func (s *State) read(fr frame) error {
	switch fr.Kind {
	case "head":
		return into(fr.Value, func(h head) error {
			s.about, s.seq, s.applied = h.About, h.Seq, h.Applied
			s.auditSeq, s.trustGen = h.AuditSeq, h.TrustGen
			return nil
		})
	case "record":
		return into(fr.Value, func(r catalog.Record) error {
			if r.Key() == "" {
				return errors.New("a record without a value")
			}
			s.store(r)
			return nil
		})
	case "history":
		return into(fr.Value, func(h historyFrame) error { s.history[h.Key] = h.Lost; return nil })
	case "grave":
		return into(fr.Value, func(g graveFrame) error { s.graves.put(g.Key, g.Version); return nil })
	case "acked":
		return into(fr.Value, func(a ackedFrame) error { s.acked[a.Key] = a.Since; return nil })
	case "secret":
		return into(fr.Value, func(x Secret) error { s.secrets[x.Name] = x; return nil })
	case "token":
		return into(fr.Value, func(t Token) error { s.tokens[t.ID] = t; return nil })
	case "registry":
		return into(fr.Value, func(n registryFrame) error { s.registry[n.Region] = n.Note; return nil })
	case "audit":
		return into(fr.Value, func(e AuditEntry) error { s.audit = append(s.audit, e); return nil })
	case "seen":
		return into(fr.Value, func(x seenFrame) error { s.seen.put(x.ID, x.Result); return nil })
	}
	return errors.New("unknown kind of frame")
}

// into decodes a value strictly and hands it to f.
func into[T any](raw json.RawMessage, f func(T) error) error {
	var v T
	if err := strictJSON(raw, &v); err != nil {
		return err
	}
	return f(v)
}

// sortedKeys returns the keys of a map by object, ordered.
func sortedKeys[V any](m map[catalog.ObjectKey]V) []catalog.ObjectKey {
	return slices.SortedFunc(maps.Keys(m), func(a, b catalog.ObjectKey) int {
		return strings.Compare(a.String(), b.String())
	})
}
