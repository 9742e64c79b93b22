package state

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
)

// AuditEntry is one line of the region's audit log.
type AuditEntry struct {
	Seq    uint64    `json:"seq"`
	Time   time.Time `json:"time"`
	Actor  string    `json:"actor"`
	From   string    `json:"from,omitempty"`
	Action string    `json:"action"`
	Target string    `json:"target"`
	Detail string    `json:"detail,omitempty"`
}

// maxAuditDetail bounds the detail of an audit entry, in bytes.
const maxAuditDetail = 1024

// change is one command being applied: writes to records are collected and take
// effect together, or not at all.
type change struct {
	*State
	meta   Meta
	writes map[catalog.RecordKey]*catalog.Record // nil deletes
	// after runs once the command is accepted: what is not a record.
	after []func()
	reset bool // a new epoch began: there is no delta
}

// Apply runs one command. The Result says what came of it; a refusal (Code set)
// changed nothing. The delta is nil when nothing exported changed. An error
// means that this build cannot run the command and must stop: nothing was
// applied, and nothing after it may be.
func (s *State) Apply(env Envelope) (Result, *catalog.Delta, error) {
	return s.applyAs(env, Protocol)
}

func (s *State) applyAs(env Envelope, protocol int) (Result, *catalog.Delta, error) {
	if known, ok := s.seen.get(env.ID); ok {
		return known, nil, nil
	}
	cmd, err := env.decode(protocol)
	if err != nil {
		return Result{}, nil, ErrHalted.withf("%v", err)
	}
	c := &change{State: s, meta: env.Meta, writes: map[catalog.RecordKey]*catalog.Record{}}
	value, err := c.run(cmd, env.Version)
	var delta *catalog.Delta
	if err == nil {
		delta = c.commit()
		c.log(cmd)
	}
	result := Result{Version: s.Version(), Code: CodeOf(err)}
	if err != nil {
		result.Message = err.Error()
	} else if value != nil {
		result.Value = encodeValue(value)
	}
	s.seen.put(env.ID, result)
	return result, delta, nil
}

func (c *change) run(cmd Command, version int) (any, error) {
	if err := cmd.validate(); err != nil {
		return nil, err
	}
	if _, founding := cmd.(*Found); !founding && c.about.Epoch == 0 {
		return nil, ErrNotFounded
	}
	if common := c.CommonProtocol(); version > common {
		return nil, ErrProtocol.withf("command %q needs protocol %d, the oldest replica of this region understands %d: upgrade it first", cmd.kind(), version, common)
	}
	value, err := cmd.apply(c)
	if err == nil && version > c.about.Protocol {
		// No build that does not know the command can run this log from here on, so
		// none may join, or say that it came back as one.
		c.then(func() { c.about.Protocol = max(c.about.Protocol, version) })
	}
	return value, err
}

// get reads a record through the pending writes.
func (c *change) get(key catalog.RecordKey) (catalog.Record, bool) {
	if w, ok := c.writes[key]; ok {
		if w == nil {
			return catalog.Record{}, false
		}
		return *w, true
	}
	return c.Record(key)
}

// put writes a record, unless it would change nothing.
func (c *change) put(r catalog.Record) {
	key := r.Key()
	if old, ok := c.Record(key); ok && sameRecord(old, r) {
		delete(c.writes, key)
		return
	}
	c.writes[key] = &r
}

// drop deletes a record, if it is there.
func (c *change) drop(key catalog.RecordKey) {
	if _, ok := c.Record(key); ok {
		c.writes[key] = nil
		return
	}
	delete(c.writes, key)
}

// then has f run once the command is accepted.
func (c *change) then(f func()) { c.after = append(c.after, f) }

// commit makes the writes take effect and returns the delta they are.
func (c *change) commit() *catalog.Delta {
	for _, f := range c.after {
		f()
	}
	if len(c.writes) == 0 {
		return nil
	}
	c.seq++
	delta := &catalog.Delta{Region: c.about.Region, Version: c.Version()}
	for _, key := range slices.Sorted(maps.Keys(c.writes)) {
		if r := c.writes[key]; r != nil {
			c.store(*r)
			delta.Upserts = append(delta.Upserts, *r)
			continue
		}
		delete(c.facts[key.Kind()], key)
		delta.Deletes = append(delta.Deletes, key)
	}
	if c.reset {
		return nil
	}
	c.remember(*delta)
	return delta
}

func (s *State) store(r catalog.Record) {
	key := r.Key()
	records := s.facts[key.Kind()]
	if records == nil {
		records = map[catalog.RecordKey]catalog.Record{}
		s.facts[key.Kind()] = records
	}
	records[key] = r
}

// log writes the audit entry of an accepted command.
func (c *change) log(cmd Command) {
	target, detail := cmd.audit()
	if target == "" {
		return
	}
	c.auditSeq++
	c.State.audit = append(c.State.audit, AuditEntry{
		Seq: c.auditSeq, Time: c.meta.Time, Actor: c.meta.Actor, From: c.meta.From,
		Action: string(cmd.kind()), Target: target, Detail: clip(detail, maxAuditDetail),
	})
	if over := len(c.State.audit) - AuditLimit; over > 0 {
		c.State.audit = c.State.audit[over:]
	}
}

// clip cuts s to at most n bytes, at a rune boundary.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// sameRecord compares records as they are published, so that a replica that
// read its state from a snapshot agrees with one that replayed the log.
func sameRecord(a, b catalog.Record) bool { return bytes.Equal(encodeValue(a), encodeValue(b)) }

// encodeValue writes a value of our own types, which always encode.
func encodeValue(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}
