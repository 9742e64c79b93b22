package main

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/federator/federator/peering/pb"
)

func or(s, otherwise string) string { return cmp.Or(s, otherwise) }

func count[T uint32 | uint64](n T) string { return strconv.FormatUint(uint64(n), 10) }

// portList writes ports as "http:8080/TCP dns:53/UDP".
func portList(ports []*pb.ServicePort) string {
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = count(p.GetNumber()) + "/" + p.GetProtocol()
		if p.GetName() != "" {
			texts[i] = p.GetName() + ":" + texts[i]
		}
	}
	return strings.Join(texts, " ")
}
