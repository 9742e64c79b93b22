package network

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Where the addresses are in an IPv4 header, in bytes.
const (
	sourceOffset      = 12
	destinationOffset = 16
)

// precision is how finely a share of packets can be told.
const precision = 1 << 20

// enforce replaces the rules of a region's bridge by these, at once.
func (n *namespace) enforce(rules []rule) error {
	return n.do(func() error {
		conn, err := nftables.New()
		if err != nil {
			return fmt.Errorf("speak to nftables: %w", err)
		}
		// Added first, so that there is one to delete.
		table := conn.AddTable(&nftables.Table{Name: "lab", Family: nftables.TableFamilyBridge})
		conn.DelTable(table)
		table = conn.AddTable(table)
		// What a host sends to other regions only enters the bridge; what they send
		// to it only leaves it.
		entering := conn.AddChain(&nftables.Chain{
			Name: "entering", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityFilter,
		})
		leaving := conn.AddChain(&nftables.Chain{
			Name: "leaving", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityFilter,
		})
		for _, r := range rules {
			chain := leaving
			if !r.to.IsValid() {
				chain = entering
			}
			conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: r.expressions()})
		}
		if err := conn.Flush(); err != nil {
			return fmt.Errorf("set the nftables rules of a region: %w", err)
		}
		return nil
	})
}

// expressions are the rule as nftables runs it.
func (r rule) expressions() []expr.Any {
	const register = 1
	equal := func(data []byte) expr.Any {
		return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data}
	}
	all := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: register},
		equal(binaryutil.BigEndian.PutUint16(unix.ETH_P_IP)),
	}
	if r.from.IsValid() {
		all = append(all, &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: sourceOffset, Len: 4}, equal(r.from.AsSlice()))
	}
	if r.to.IsValid() {
		all = append(all, &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: destinationOffset, Len: 4}, equal(r.to.AsSlice()))
	}
	if r.share < 1 {
		all = append(all,
			&expr.Numgen{Register: register, Modulus: precision, Type: unix.NFT_NG_RANDOM},
			&expr.Byteorder{SourceRegister: register, DestRegister: register, Op: expr.ByteorderHton, Len: 4, Size: 4}, // comparisons are of bytes
			&expr.Cmp{Op: expr.CmpOpLt, Register: register, Data: binaryutil.BigEndian.PutUint32(uint32(r.share * precision))},
		)
	}
	return append(all, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
}
