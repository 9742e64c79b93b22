package gossip

import (
	"encoding/binary"
	"fmt"

	"github.com/federator/federator/federation/catalog"
)

// wireVersion begins every message; another version is refused.
const wireVersion = 1

// The kinds of message.
const (
	kindDelta   = 1 // health changes of one cluster
	kindResync  = 2 // too many changes: ask for them
	kindDigests = 3 // the state exchanged by push/pull
	kindAsk     = 4 // the reliable request for pending changes

)

const (
	// maxPacketMessage bounds a user message, so that it fits a packet of 1400
	// bytes with everything that wraps it.
	maxPacketMessage = 1200
	// maxFrame bounds one frame of a reliable answer.
	maxFrame = 64 << 10
	// maxDigests bounds the clusters in one push/pull, maxDigestBytes its size.
	maxDigests     = 4096
	maxDigestBytes = 1 << 20
)

// resync says that a cluster has more pending changes than gossip carries.
type resync struct {
	Cluster string
	Version catalog.HealthVersion
	Origin  NodeName // who has them
}

// NodeName names a replica across the federation.
type NodeName struct {
	Region, Name string
}

// String returns "region/name", the name of the replica's memberlist node.
func (n NodeName) String() string { return n.Region + "/" + n.Name }

func parseNodeName(s string) (NodeName, error) {
	l, err := catalog.ParseLocality(s)
	if err != nil || l.Zone == "" {
		return NodeName{}, fmt.Errorf("node %q: expected REGION/NAME", s)
	}
	return NodeName{Region: l.Region, Name: l.Zone}, nil
}

func (r *reader) nodeName() NodeName {
	n, err := parseNodeName(r.text())
	r.check(err)
	return n
}

func (r *reader) cluster() string {
	c := r.text()
	r.check(catalog.ValidateCluster(c))
	return c
}

// appendChange appends one change; minChange is the least it can take.
func appendChange(b []byte, c catalog.HealthChange) []byte {
	b = appendText(b, c.Service.Namespace)
	b = appendText(b, c.Service.Name)
	b = appendText(b, c.Endpoint)
	b = append(b, byte(c.Health))
	return appendHealthVersion(b, c.Version)
}

const minChange = 2 + 2 + 2 + 1 + 3

func (r *reader) change() catalog.HealthChange {
	c := catalog.HealthChange{
		Service:  catalog.ServiceName{Namespace: r.text(), Name: r.text()},
		Endpoint: r.text(),
		Health:   catalog.Health(r.byte()),
		Version:  r.healthVersion(),
	}
	r.check(c.Service.Validate())
	if c.Endpoint == "" || c.Health > catalog.Draining {
		r.failed = true
	}
	return c
}

// encodable reports whether the wire can carry the change.
func encodable(c catalog.HealthChange) bool {
	return c.Endpoint != "" && len(c.Endpoint) <= maxString && plainText(c.Endpoint) &&
		c.Service.Validate() == nil && c.Health <= catalog.Draining
}

// encodeDelta encodes a delta as messages of at most limit bytes each. Changes
// that the wire cannot carry are left out and counted.
func encodeDelta(d catalog.HealthDelta, limit int) (messages [][]byte, refused int) {
	if catalog.ValidateCluster(d.Cluster) != nil {
		return nil, len(d.Changes)
	}
	head := appendText([]byte{wireVersion, kindDelta}, d.Cluster)
	body, n := []byte(nil), 0
	flush := func() {
		if n > 0 {
			messages = append(messages, deltaMessage(head, body, n))
			body, n = nil, 0
		}
	}
	for _, c := range d.Changes {
		if !encodable(c) {
			refused++
			continue
		}
		one := appendChange(nil, c)
		if len(head)+binary.MaxVarintLen32+len(body)+len(one) > limit {
			flush()
		}
		body, n = append(body, one...), n+1
	}
	flush()
	return messages, refused
}

func deltaMessage(head, body []byte, n int) []byte {
	m := make([]byte, 0, len(head)+binary.MaxVarintLen32+len(body))
	m = append(m, head...)
	m = binary.AppendUvarint(m, uint64(n))
	return append(m, body...)
}

func decodeDelta(b []byte) (catalog.HealthDelta, error) {
	r := reader{rest: b}
	r.header(kindDelta)
	d := catalog.HealthDelta{Cluster: r.cluster()}
	n := r.count(len(r.rest), minChange)
	for range n {
		if r.failed {
			break
		}
		d.Changes = append(d.Changes, r.change())
	}
	return d, r.done()
}

func encodeResync(m resync) []byte {
	b := appendText([]byte{wireVersion, kindResync}, m.Cluster)
	b = appendHealthVersion(b, m.Version)
	return appendText(b, m.Origin.String())
}

func decodeResync(b []byte) (resync, error) {
	r := reader{rest: b}
	r.header(kindResync)
	m := resync{Cluster: r.cluster(), Version: r.healthVersion(), Origin: r.nodeName()}
	return m, r.done()
}

const minDigest = 2 + 3 + 3 + 8

// encodeDigests encodes what push/pull carries: whose it is, and the digests.
func encodeDigests(from NodeName, digests []catalog.HealthDigest) []byte {
	if len(digests) > maxDigests {
		digests = digests[:maxDigests]
	}
	b := appendText([]byte{wireVersion, kindDigests}, from.String())
	b = binary.AppendUvarint(b, uint64(len(digests)))
	for _, d := range digests {
		b = appendText(b, d.Cluster)
		b = appendHealthVersion(b, d.Confirmed)
		b = appendHealthVersion(b, d.Highest)
		b = binary.BigEndian.AppendUint64(b, d.Hash)
	}
	return b
}

func decodeDigests(b []byte) (NodeName, []catalog.HealthDigest, error) {
	if len(b) > maxDigestBytes {
		return NodeName{}, nil, errUndecodable
	}
	r := reader{rest: b}
	r.header(kindDigests)
	from := r.nodeName()
	n := r.count(maxDigests, minDigest)
	digests := make([]catalog.HealthDigest, 0, n)
	for range n {
		digests = append(digests, catalog.HealthDigest{
			Cluster: r.cluster(), Confirmed: r.healthVersion(), Highest: r.healthVersion(), Hash: r.uint64(),
		})
	}
	return from, digests, r.done()
}

// encodeAsk encodes the request for the pending changes of some clusters.
func encodeAsk(clusters []string) []byte {
	if len(clusters) > maxAsk {
		clusters = clusters[:maxAsk]
	}
	b := binary.AppendUvarint([]byte{wireVersion, kindAsk}, uint64(len(clusters)))
	for _, c := range clusters {
		b = appendText(b, c)
	}
	return b
}

func decodeAsk(b []byte) ([]string, error) {
	r := reader{rest: b}
	r.header(kindAsk)
	n := r.count(maxAsk, 2)
	clusters := make([]string, 0, n)
	for range n {
		clusters = append(clusters, r.cluster())
	}
	return clusters, r.done()
}
