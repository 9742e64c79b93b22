package dns

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
)

const (
	strideA    = 2 + 10 + 4  // an A record whose owner is a compression pointer
	strideAAAA = 2 + 10 + 16 // and an AAAA record

	// maxAddresses bounds the addresses of an answer, maxHeadless those of a
	// headless service.
	maxAddresses = 8
	maxHeadless  = 512
)

// family is the wire image of the addresses of one kind: whole records, owned by
// the question's name, one behind the other.
type family struct {
	stride  int
	records []byte
	sums    []uint64 // running sums of the weights; nil where all are equal
}

func (f *family) len() int {
	if f.stride == 0 {
		return 0
	}
	return len(f.records) / f.stride
}

func (f *family) record(i int) []byte { return f.records[i*f.stride : (i+1)*f.stride] }

// at returns the record at a point of the line of weights, a 32-bit fraction.
func (f *family) at(point uint64) int {
	n := f.len()
	if f.sums == nil {
		return int(uint64(n) * point >> 32)
	}
	hi, lo := bits.Mul64(f.sums[n-1], point)
	i, found := slices.BinarySearch(f.sums, hi<<32|lo>>32)
	if found {
		i++ // sums[i] is the first point behind record i
	}
	return min(i, n-1)
}

func (f *family) equal(o *family) bool {
	return bytes.Equal(f.records, o.records) && slices.Equal(f.sums, o.sums)
}

// has reports whether the address is among the records.
func (f *family) has(a netip.Addr) bool {
	raw := a.AsSlice()
	for i := range f.len() {
		if bytes.HasSuffix(f.record(i), raw) {
			return true
		}
	}
	return false
}

// place is what the clients that are sent to one locality are told. Two client
// localities that are sent to the same endpoints share it.
type place struct {
	at      catalog.Locality
	naming  naming
	a, aaaa family
}

func (p *place) family(qtype uint16) *family {
	if qtype == typeAAAA {
		return &p.aaaa
	}
	return &p.a
}

// size is how many addresses can be told apart here.
func (p *place) size() int { return max(p.a.len(), p.aaaa.len()) }

// imager gathers addresses for a place. An address that comes twice is one
// record with the sum of the weights (an RRset has no duplicates, RFC 2181 5).
type imager struct {
	ttl   uint32
	addrs []netip.Addr
	sums  []uint64
	seen  map[netip.Addr]int
}

func (im *imager) add(a netip.Addr, weight uint32) {
	a = a.Unmap().WithZone("")
	if weight == 0 || !a.IsValid() {
		return
	}
	if im.seen == nil {
		im.seen = map[netip.Addr]int{}
	}
	if i, ok := im.seen[a]; ok {
		im.sums[i] += uint64(weight)
		return
	}
	im.seen[a] = len(im.addrs)
	im.addrs = append(im.addrs, a)
	im.sums = append(im.sums, uint64(weight))
}

func (im *imager) addAll(endpoints []locality.Endpoint) {
	for i := range endpoints {
		im.add(endpoints[i].Address, endpoints[i].Weight)
	}
}

func (im *imager) place(at catalog.Locality) *place {
	return &place{at: at, a: im.family(true), aaaa: im.family(false)}
}

func (im *imager) family(is4 bool) family {
	f := family{stride: strideAAAA}
	if is4 {
		f.stride = strideA
	}
	var sums []uint64
	var sum uint64
	level := true
	for i, a := range im.addrs {
		if a.Is4() != is4 {
			continue
		}
		f.records = appendAddress(put16(f.records, ownerAtQ), a, im.ttl)
		sum += im.sums[i]
		sums = append(sums, sum)
		level = level && im.sums[i] == sums[0]
	}
	f.records = slices.Clip(f.records)
	if !level {
		f.sums = slices.Clip(sums)
	}
	return f
}

// retarget writes a record of an image with another owner.
func retarget(b, record []byte, owner int) []byte {
	b = append(b, record...)
	binary.BigEndian.PutUint16(b[len(b)-len(record):], uint16(pointerMark|owner))
	return b
}
