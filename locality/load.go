package locality

// This file is Envoy's arithmetic, number for number, as its documentation
// (load balancing: priority levels, degraded endpoints, panic threshold,
// locality weighted) and its LoadBalancerBase have it, in integers.

// level is what the load of one priority is computed from, and the result.
type level struct {
	total, healthy, degraded uint64 // endpoints
	admitted                 uint64 // healthy endpoints times ramp factor, in parts per million

	health, degradedHealth      uint64 // percent, 0 to 100
	load, healthyLoad, sickLoad uint64 // percent; load = healthyLoad + sickLoad
	panic                       bool
}

// availability returns min(100, floor(overprovisioning * part / (total * unit))).
func availability(overprovisioning, part, total, unit uint64) uint64 {
	if total == 0 {
		return 0
	}
	return min(100, overprovisioning*part/(total*unit))
}

// spread sets the loads of all levels.
//
// While capacity ramps up, loads follow what is admitted, but panic is decided
// on what is really there: letting traffic back slowly is no reason for panic.
func spread(levels []level, overprovisioning, panicThreshold uint64) {
	if len(levels) == 0 {
		return
	}
	var real, ramped uint64
	for i := range levels {
		l := &levels[i]
		l.health = availability(overprovisioning, l.healthy, l.total, 1)
		l.degradedHealth = availability(overprovisioning, l.degraded, l.total, 1)
		real += l.health + l.degradedHealth
		ramped += availability(overprovisioning, l.admitted, l.total, Unit) + l.degradedHealth
	}
	if markPanic(levels, min(100, real), panicThreshold) {
		loadByHosts(levels)
		return
	}
	if real == 0 {
		loadFirstServing(levels)
		return
	}
	loadByHealth(levels, overprovisioning, ramped)
}

// markPanic decides which levels are in panic: those with less than threshold
// percent available, but none while the levels together can take all traffic. It
// reports whether all of them are.
func markPanic(levels []level, available, threshold uint64) bool {
	all := true
	for i := range levels {
		l := &levels[i]
		l.panic = available < 100 && 100*(l.healthy+l.degraded) < min(100, threshold)*l.total
		all = all && l.panic
	}
	return all
}

// loadByHosts spreads the load by the number of endpoints, whatever their
// health; the first level gets what rounding leaves.
func loadByHosts(levels []level) {
	var hosts uint64
	for i := range levels {
		hosts += levels[i].total
	}
	left := uint64(100)
	for i := range levels {
		l := &levels[i]
		l.load = 100 * l.total / hosts
		l.healthyLoad = l.load
		left -= l.load
	}
	levels[0].load += left
	levels[0].healthyLoad += left
}

// loadFirstServing is for panic turned off and next to nothing available: all
// load goes to the first level where anybody is. Envoy sends it to level 0 and
// fails if nobody is there; with nobody anywhere, so do we.
func loadFirstServing(levels []level) {
	first := &levels[0]
	for i := range levels {
		if levels[i].healthy+levels[i].degraded > 0 {
			first = &levels[i]
			break
		}
	}
	first.load = 100
	if first.healthy > 0 || first.degraded == 0 {
		first.healthyLoad = 100
	} else {
		first.sickLoad = 100
	}
}

// loadByHealth fills the levels in order, healthy ones first and then degraded
// ones with what is left, normalised if they cannot take it all. The first that
// is available gets what rounding leaves.
func loadByHealth(levels []level, overprovisioning, ramped uint64) {
	health := func(l *level) uint64 { return availability(overprovisioning, l.admitted, l.total, Unit) }
	if ramped == 0 { // rounded away: then the ramp does not matter
		health = func(l *level) uint64 { return l.health }
		for i := range levels {
			ramped += levels[i].health
		}
	}
	whole := min(100, ramped)
	left := uint64(100)
	first := (*uint64)(nil)
	fill := func(load *uint64, available uint64) {
		*load = min(left, available*100/whole)
		left -= *load
		if first == nil && available > 0 {
			first = load
		}
	}
	for i := range levels {
		fill(&levels[i].healthyLoad, health(&levels[i]))
	}
	for i := range levels {
		fill(&levels[i].sickLoad, levels[i].degradedHealth)
	}
	*first += left
	for i := range levels {
		levels[i].load = levels[i].healthyLoad + levels[i].sickLoad
	}
}
