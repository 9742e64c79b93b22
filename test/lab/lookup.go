package lab

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// lookup asks a replica for the addresses of a name, from a client of its region;
// stale says that the answer calls itself so.
func (w *World) lookup(r *replica, name string) (addresses []string, stale bool, err error) {
	client, err := w.Net.Host(r.Region, "client")
	if err != nil {
		return nil, false, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := client.DialContext(ctx, "udp", r.DNS)
	if err != nil {
		return nil, false, err
	}
	defer conn.Close()
	question := new(dns.Msg).SetQuestion(name, dns.TypeA)
	question.SetEdns0(1232, false)
	reply, _, err := new(dns.Client).ExchangeWithConn(question, &dns.Conn{Conn: conn})
	if err != nil {
		return nil, false, err
	}
	for _, record := range reply.Answer {
		if a, ok := record.(*dns.A); ok {
			addresses = append(addresses, a.A.String())
		}
	}
	slices.Sort(addresses)
	if opt := reply.IsEdns0(); opt != nil {
		stale = slices.ContainsFunc(opt.Option, func(o dns.EDNS0) bool {
			e, ok := o.(*dns.EDNS0_EDE)
			return ok && e.InfoCode == dns.ExtendedErrorCodeStaleAnswer
		})
	}
	return addresses, stale, nil
}

// answers is nil if a replica answers a name with exactly these addresses, and
// says so if they are stale.
func (w *World) answers(r *replica, name string, stale bool, want ...string) error {
	found, saysSo, err := w.lookup(r, name)
	want = slices.Sorted(slices.Values(want))
	if err == nil && (!slices.Equal(found, want) || saysSo != stale) {
		err = fmt.Errorf("%s: expected %s to be %v (stale: %v), found %v (stale: %v)", r, name, want, stale, found, saysSo)
	}
	return err
}
