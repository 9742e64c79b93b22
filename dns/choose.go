package dns

import "bytes"

// picks are the records chosen for one answer, borrowed from images.
type picks struct {
	records [maxAddresses][]byte
	n       int
	names   [maxAddresses]naming // the places that they are from
	places  int
}

// dice is the randomness of one answer: steady is the same for one client and
// service during [pairing], so that A and AAAA come from one subset; fresh is not.
type dice struct{ steady, fresh uint64 }

// choose picks the addresses of one family for a client. Both families choose
// the same localities.
func (p *picks) choose(o *outcome, qtype uint16, shared bool, d dice) {
	p.n, p.places = 0, 0
	switch {
	case len(o.shares) == 0:
	case len(o.shares) == 1:
		p.takeFrom(o.shares[0].place, qtype, maxAddresses, d)
	case shared:
		p.apportion(o, qtype, d)
	default:
		p.takeFrom(o.pick(d.steady&(1<<32-1)), qtype, maxAddresses, d)
	}
}

// takeFrom is take of a place, which is noted if it has any.
func (p *picks) takeFrom(at *place, qtype uint16, n int, d dice) {
	before := p.n
	p.take(at.family(qtype), n, d)
	if p.n > before {
		p.names[p.places] = at.naming
		p.places++
	}
}

// pick returns the place at a point of the line of shares, a 32-bit fraction.
func (o *outcome) pick(point uint64) *place {
	i := 0
	for o.shares[i].end <= point {
		i++
	}
	return o.shares[i].place
}

// apportion lays upTo evenly spaced points over the line of shares, beginning
// anywhere: each locality gets its exact part on average, and at least the whole
// number below it always.
func (p *picks) apportion(o *outcome, qtype uint16, d dice) {
	step := uint64(1<<32) / uint64(o.upTo)
	point := (d.steady & (1<<32 - 1)) % step
	left := o.upTo
	for i := range o.shares {
		n := 0
		for left > 0 && point < o.shares[i].end {
			point += step
			left--
			n++
		}
		if n > 0 {
			p.takeFrom(o.shares[i].place, qtype, n, dice{mix64(d.steady, uint64(i)), mix64(d.fresh, uint64(i))})
		}
	}
	p.rotate(int(d.fresh>>32) % max(1, p.n))
}

// take adds up to n records of a family. All of them if they fit, beginning with
// one by weight; else those at n evenly spaced points of the line of weights,
// beginning with any.
func (p *picks) take(f *family, n int, d dice) {
	size := f.len()
	n = min(n, maxAddresses-p.n)
	if size <= n {
		start := 0
		if size > 1 {
			start = f.at(d.fresh & (1<<32 - 1))
		}
		for i := range size {
			p.add(f.record((start + i) % size))
		}
		return
	}
	step := uint64(1<<32) / uint64(max(1, n))
	first := d.steady >> 32 % step
	for i := range n {
		p.add(f.record(f.at(first + (uint64(i)+d.fresh)%uint64(n)*step)))
	}
}

// add adds a record unless it is there already.
func (p *picks) add(record []byte) {
	for _, r := range p.records[:p.n] {
		if bytes.Equal(r, record) {
			return
		}
	}
	p.records[p.n] = record
	p.n++
}

// rotate makes record i the first.
func (p *picks) rotate(i int) {
	var old [maxAddresses][]byte
	copy(old[:], p.records[:p.n])
	for j := range p.n {
		p.records[j] = old[(i+j)%p.n]
	}
}
