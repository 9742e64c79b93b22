package network

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Dropped is how many packets the rules of all regions have dropped, each since the
// rules of its region were set last.
func Dropped(n *Network) (packets uint64, err error) {
	for _, r := range n.regions {
		err := r.ns.do(func() error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyBridge)
			if err != nil {
				return err
			}
			for _, c := range chains {
				rules, err := conn.GetRules(c.Table, c)
				if err != nil {
					return err
				}
				for _, rule := range rules {
					for _, e := range rule.Exprs {
						if counter, ok := e.(*expr.Counter); ok {
							packets += counter.Packets
						}
					}
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return packets, nil
}
