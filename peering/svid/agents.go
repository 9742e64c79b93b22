package svid

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// maxAgents bounds the addresses that are tried.
const maxAgents = 64

// Agents are the addresses behind HOST:PORT pairs. A host may be the name of a
// headless Service, which stands for every replica of the cluster: all of them are
// tried, each by itself, in the order that shuffle leaves them in.
func Agents(ctx context.Context, lookup func(ctx context.Context, host string) ([]string, error), shuffle func(n int, swap func(i, j int)), pairs []string) ([]string, error) {
	var out []string
	var errs []error
	for _, pair := range pairs {
		host, port, err := net.SplitHostPort(pair)
		if err != nil || host == "" {
			return nil, fmt.Errorf("agent %q: expected HOST:PORT, for example federator-peers.federator-system.svc:7443", pair)
		}
		addresses := []string{host}
		if net.ParseIP(host) == nil {
			if addresses, err = lookup(ctx, host); err != nil {
				errs = append(errs, fmt.Errorf("agent %s: %w; is federator installed in this cluster, and may this pod ask DNS?", pair, err))
				continue
			}
		}
		shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
		for _, a := range addresses {
			out = append(out, net.JoinHostPort(a, port))
		}
	}
	if len(out) == 0 {
		return nil, errors.Join(errs...)
	}
	return out[:min(len(out), maxAgents)], nil
}
