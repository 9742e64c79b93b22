package gossip

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/federator/federator/federation/catalog"
)

const (
	// maxAsk bounds the clusters in one request, maxFrames the frames of an answer.
	maxAsk    = 256
	maxFrames = 512
	// maxWanted bounds the clusters that wait to be asked for.
	maxWanted = 4096
	// askTimeout bounds one request with its answer.
	askTimeout = 5 * time.Second
	// pullJitter spreads the requests that one message causes on all replicas, and
	// lets several wishes become one request.
	pullJitter = 200 * time.Millisecond
	// fallbacks is how many others are asked when the one that announced the
	// changes cannot be reached.
	fallbacks = 2
)

// puller remembers which clusters differ, and from whom to ask their changes.
type puller struct {
	mu      sync.Mutex
	wanted  map[string]NodeName
	latest  map[string]catalog.HealthVersion // the newest resync seen, by cluster
	pending chan struct{}
}

func newPuller() *puller {
	return &puller{
		wanted:  map[string]NodeName{},
		latest:  map[string]catalog.HealthVersion{},
		pending: make(chan struct{}, 1),
	}
}

// announce reports whether a resync is newer than all seen of its cluster.
func (p *puller) announce(m resync) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.latest[m.Cluster]
	if ok && m.Version.Compare(last) <= 0 {
		return false
	}
	if !ok && len(p.latest) >= maxWanted {
		clear(p.latest)
	}
	p.latest[m.Cluster] = m.Version
	return true
}

// want notes that a cluster is to be asked for.
func (p *puller) want(from NodeName, cluster string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.wanted) >= maxWanted {
		return // push/pull brings the difference up again
	}
	p.wanted[cluster] = from
	select {
	case p.pending <- struct{}{}:
	default:
	}
}

// take returns the wishes by peer, and forgets them.
func (p *puller) take() map[NodeName][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	by := map[NodeName][]string{}
	for cluster, from := range p.wanted {
		by[from] = append(by[from], cluster)
	}
	clear(p.wanted)
	return by
}

// pull asks for what is wanted until ctx is done.
func (g *Gossip) pull(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.puller.pending:
		}
		if !sleep(ctx, time.Duration(g.cfg.Rand()%uint64(pullJitter))) {
			return
		}
		for from, clusters := range g.puller.take() {
			for len(clusters) > 0 {
				n := min(len(clusters), maxAsk)
				g.askAnyone(ctx, from, clusters[:n])
				clusters = clusters[n:]
			}
		}
	}
}

// askAnyone asks a peer, and somebody else if it cannot be reached.
func (g *Gossip) askAnyone(ctx context.Context, from NodeName, clusters []string) {
	ask := []NodeName{from}
	for _, t := range g.choose(fallbacks) {
		ask = append(ask, t.NodeName)
	}
	for _, peer := range ask {
		if peer == g.self {
			continue
		}
		err := g.ask(ctx, peer, clusters)
		if err == nil || ctx.Err() != nil {
			return
		}
		g.log.Debug("health changes not fetched", "peer", peer.String(), "error", err)
	}
}

// ask fetches a peer's pending changes of some clusters and applies them.
func (g *Gossip) ask(ctx context.Context, peer NodeName, clusters []string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := g.transport.connect(ctx, kindReliable, memberlist.Address{Name: peer.String()})
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := writeFrame(conn, encodeAsk(clusters)); err != nil {
		return fmt.Errorf("ask %s for health changes: %w", peer, err)
	}
	g.metrics.message("out", "ask")
	in := bufio.NewReader(conn)
	for range maxFrames {
		frame, err := readFrame(in)
		if err != nil {
			return fmt.Errorf("read health changes from %s: %w", peer, err)
		}
		if len(frame) == 0 {
			return nil
		}
		d, err := decodeDelta(frame)
		if err != nil {
			g.metrics.drop(dropUndecodable)
			return fmt.Errorf("health changes from %s: %w", peer, err)
		}
		g.metrics.message("in", "answer")
		g.apply(d)
	}
	return fmt.Errorf("health changes from %s: expected at most %d frames", peer, maxFrames)
}

// answer serves one request for pending changes.
func (g *Gossip) answer(conn net.Conn) {
	if conn.SetDeadline(time.Now().Add(askTimeout)) != nil {
		return
	}
	frame, err := readFrame(conn)
	if err != nil {
		return
	}
	clusters, err := decodeAsk(frame)
	if err != nil {
		g.metrics.drop(dropUndecodable)
		return
	}
	g.metrics.message("in", "ask")
	if err := g.writePending(conn, clusters); err != nil {
		g.log.Debug("health changes not sent", "peer", conn.RemoteAddr().String(), "error", err)
	}
}

func (g *Gossip) writePending(conn net.Conn, clusters []string) error {
	out := bufio.NewWriter(conn)
	for _, c := range clusters {
		frames, _ := encodeDelta(catalog.HealthDelta{Cluster: c, Changes: g.cfg.Pending(c)}, maxFrame)
		for _, f := range frames {
			if err := writeFrame(out, f); err != nil {
				return err
			}
			g.metrics.message("out", "answer")
		}
	}
	if err := writeFrame(out, nil); err != nil {
		return err
	}
	return out.Flush()
}

// writeFrame writes a message after its length.
func writeFrame(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// readFrame reads a message of at most maxFrame bytes.
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, fmt.Errorf("frame: expected at most %d bytes, found %d", maxFrame, n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// sleep waits, and reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
