package devlab

import (
	"fmt"
	"net"
	"strings"
)

// Guide says what to try with the running federation.
func (l *Lab) Guide() string {
	west, central, east := l.in("us-west"), l.in("eu-central"), l.in("asia-east")
	checkout, catalog := strings.TrimSuffix(name("checkout", l), "."), strings.TrimSuffix(name("catalog", l), ".")
	sick := l.at("us-west", "shop/checkout")[0]
	var pids []string
	for _, r := range west {
		pids = append(pids, fmt.Sprint(r.PID))
	}
	agents := strings.Join(pids, " ")
	return fmt.Sprintf(`
Three regions of three replicas are up. An address 127.10.k.n is an endpoint of
region k: us-west 1, eu-central 2, asia-east 3. State and logs: %[1]s

Ask for the nearest, in each region:
  %[2]s %[5]s
  %[3]s %[5]s
  %[4]s %[6]s        # asia-east has none of its own
  %[2]s _http._tcp.%[5]s SRV
  %[2]s -b 127.10.2.1 %[5]s   # as a client in eu-central

Ask why, and how all of it is:
  export FEDERATOR_SOCKET=%[7]s
  federator resolve shop/catalog --from asia-east
  federator status; federator members; federator services; federator check

Break things, and ask again:
  curl -X POST %[8]s     # an endpoint of us-west fails
  curl -X POST %[9]s
  kill -KILL %[10]s         # us-west loses its replicas; its endpoints live
  kill -KILL %[10]s %[11]d  # all of us-west
  federator evacuate us-west --for 10m --reason practice
  federator evacuate us-west --stop

Practise it, and read what happened:
  federator drill plan --evacuate us-west
  federator drill start --evacuate us-west --ramp 10s --hold 30s --return 10s --wait
  federator drill report -o html --file report.html

If federator is not on your PATH: alias federator='go run ./cmd/federator'
Ctrl-C ends everything.`,
		l.dir, dig(west[0]), dig(central[0]), dig(east[0]), checkout, catalog,
		east[0].Socket, sick.FailURL, sick.RecoverURL, agents, sick.PID)
}

func dig(r *Replica) string {
	host, port, err := net.SplitHostPort(r.DNS)
	if err != nil {
		return "dig"
	}
	return "dig +short @" + host + " -p " + port
}
