package dns

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

const (
	// rampTick is how often ramps that are due are stepped.
	rampTick = 100 * time.Millisecond
	// sweepTurns is after how many turns unused tables go.
	sweepTurns = 600
)

// follow keeps the answers current until the context ends.
func (s *Server) follow(ctx context.Context, w *catalog.Watch) error {
	turns := time.NewTicker(pairing)
	defer turns.Stop()
	ramps := time.NewTicker(rampTick)
	defer ramps.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.Changed():
			s.apply(w.Take(), s.clock())
			s.refresh(w.Changed())
		case <-s.vipsChanged():
			s.applyVIPs(s.clock())
		case <-ramps.C:
			s.stepRamps(s.clock())
		case <-turns.C:
			s.turn()
			if s.second.Load()%sweepTurns == 0 {
				s.sweep()
			}
		}
	}
}

// apply takes over what changed in the catalog.
func (s *Server) apply(ch catalog.Changes, now time.Time) {
	old := s.world.Load()
	next := old
	if ch.All || ch.Conditions || old == nil {
		if c := s.catalog.Conditions(); old == nil || !sameAnswers(old.conditions, c) {
			next = s.newWorld(c)
		}
	}
	names := s.affected(ch, old, next)
	for name := range names {
		s.update(name, next, now)
	}
	s.world.Store(next)
	if next != old || len(ch.Services) > 0 {
		s.serial.Add(1)
	}
}

// affected returns the services to look at anew. If what may serve changed, they
// are all, because capacity that returns with it has to ramp.
func (s *Server) affected(ch catalog.Changes, old, next *world) map[catalog.ServiceName]bool {
	names := map[catalog.ServiceName]bool{}
	for _, n := range ch.Services {
		names[n] = true
	}
	if !ch.All && next == old {
		return names
	}
	for p := range s.index.all {
		names[p.service.Name] = true
	}
	for _, svc := range s.catalog.Services() {
		names[svc.Name] = true
	}
	return names
}

// update takes over one service.
func (s *Server) update(name catalog.ServiceName, w *world, now time.Time) {
	svc := s.catalog.Service(name)
	old := s.index.find([]byte(indexKey(name)))
	if svc == nil {
		s.forget(name, old)
		return
	}
	factors := s.step(svc, w, now)
	ips := s.lookupVIP(svc)
	if old != nil && old.service == svc && maps.Equal(old.ramp, factors) && slices.Equal(old.vip.addresses(), ips) {
		return
	}
	next := newPrepared(svc, factors, s.ttl, &s.cells)
	next.vip = s.newVIP(svc, ips)
	s.replace(old, next, w)
}

func (s *Server) forget(name catalog.ServiceName, old *prepared) {
	s.index.set(name, nil)
	s.ramps.Drop(name)
	delete(s.climb, name)
	if old != nil {
		old.retire(s.tables)
	}
}

// replace puts a service in with tables for the own region's localities, and
// for those in use before.
func (s *Server) replace(old, next *prepared, w *world) {
	keys := map[tableKey]bool{}
	for _, id := range w.eager {
		keys[tableKey(id)] = true
	}
	if old != nil {
		for _, t := range *old.tables.Load() {
			keys[t.key] = keys[t.key] || t.used.Load()
		}
	}
	for key, wanted := range keys {
		if wanted {
			next.build(w, key, s.tables)
		}
	}
	s.index.set(next.service.Name, next)
	if old != nil {
		old.retire(s.tables)
	}
}

// step steps the ramp of a service and notes when to step it again.
func (s *Server) step(svc *catalog.Service, w *world, now time.Time) locality.Factors {
	factors, due := s.ramps.Step(now, locality.Input{Service: svc, Conditions: w.conditions})
	if due.IsZero() {
		delete(s.climb, svc.Name)
	} else {
		s.climb[svc.Name] = due
	}
	return factors
}

// stepRamps steps the ramps that are due.
func (s *Server) stepRamps(now time.Time) {
	w := s.world.Load()
	for name, due := range s.climb {
		if !now.Before(due) {
			s.update(name, w, now)
		}
	}
}

// refresh brings the tables that are in use up to date, so that questions need
// not wait for it, until there is something more urgent to do.
func (s *Server) refresh(urgent <-chan struct{}) {
	w := s.world.Load()
	if s.fresh == w.generation {
		return
	}
	for p := range s.index.all {
		if len(urgent) > 0 {
			return
		}
		for _, t := range *p.tables.Load() {
			if t.generation != w.generation && t.used.Load() {
				p.build(w, t.key, s.tables)
			}
		}
	}
	s.fresh = w.generation
}

func (s *Server) sweep() {
	for p := range s.index.all {
		p.sweep(s.tables)
	}
}

// newWorld prepares the conditions for questions.
func (s *Server) newWorld(c *catalog.Conditions) *world {
	w := &world{conditions: c, regions: map[string]localityID{}, generation: 1}
	if old := s.world.Load(); old != nil {
		w.generation = old.generation + 1
	}
	own := s.ids.id(s.cfg.Own)
	w.eager = []localityID{own}
	for _, at := range c.Localities {
		if at.Region == s.cfg.Own.Region && at != s.cfg.Own {
			w.eager = append(w.eager, s.ids.id(at))
		}
	}
	for _, r := range append(c.Regions(), c.Region, s.cfg.Own.Region) {
		w.regions[r] = s.ids.id(catalog.Locality{Region: r})
	}
	w.clients = newClients(own, c, &s.cfg, &s.ids)
	w.localities = slices.Clone(s.ids.names)
	return w
}

// sameAnswers reports whether two conditions lead to the same answers: round-trip
// times count by their order only.
func sameAnswers(a, b *catalog.Conditions) bool {
	if a == b {
		return true
	}
	x, y := *a, *b
	x.RTT, y.RTT = nil, nil
	return reflect.DeepEqual(&x, &y) && slices.Equal(byRTT(a), byRTT(b))
}

// byRTT lists the measured regions, the nearest first.
func byRTT(c *catalog.Conditions) []string {
	return slices.SortedFunc(maps.Keys(c.RTT), func(r, o string) int {
		if c.RTT[r] != c.RTT[o] {
			return int(c.RTT[r] - c.RTT[o])
		}
		if r < o {
			return -1
		}
		return 1
	})
}
