//go:build linux

package controlplane

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Cut drops what the nodes and pods of two clusters send each other, until
// [World.Heal]. Neither is told: packets vanish. The API servers and this process
// stay reachable from both.
func (w *World) Cut(a, b *Cluster) error {
	w.network.cuts[pair(a, b)] = true
	return w.enforce()
}

// Heal ends all cuts.
func (w *World) Heal() error {
	clear(w.network.cuts)
	return w.enforce()
}

func pair(a, b *Cluster) [2]string {
	return [2]string{min(a.Name, b.Name), max(a.Name, b.Name)}
}

// enforce replaces the rules of the bridge by those of the cuts, at once.
func (w *World) enforce() error {
	return inside(w.network.hub, func() error {
		conn, err := nftables.New()
		if err != nil {
			return fmt.Errorf("speak to nftables: %w", err)
		}
		// Added first, so that there is one to delete.
		table := conn.AddTable(&nftables.Table{Name: "cuts", Family: nftables.TableFamilyBridge})
		conn.DelTable(table)
		table = conn.AddTable(table)
		chain := conn.AddChain(&nftables.Chain{
			Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
		})
		for cut := range w.network.cuts {
			a, b := w.Cluster(cut[0]), w.Cluster(cut[1])
			for _, from := range a.prefixes() {
				for _, to := range b.prefixes() {
					conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: drop(from, to)})
					conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: drop(to, from)})
				}
			}
		}
		if err := conn.Flush(); err != nil {
			return fmt.Errorf("set the nftables rules of the cuts: %w", err)
		}
		return nil
	})
}

// prefixes are those of the cluster's node and pods.
func (c *Cluster) prefixes() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(c.plan.node, 32), c.plan.pods}
}

// drop is a rule that drops IPv4 packets from one prefix to another.
func drop(from, to netip.Prefix) []expr.Any {
	const register, sourceOffset, destinationOffset = 1, 12, 16
	rule := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binaryutil.BigEndian.PutUint16(unix.ETH_P_IP)},
	}
	for _, half := range []struct {
		offset uint32
		prefix netip.Prefix
	}{{sourceOffset, from}, {destinationOffset, to}} {
		rule = append(rule,
			&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: half.offset, Len: 4},
			&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: ipNet(half.prefix).Mask, Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: half.prefix.Masked().Addr().AsSlice()},
		)
	}
	return append(rule, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
}
