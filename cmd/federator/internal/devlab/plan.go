package devlab

import (
	"fmt"
	"path/filepath"
	"strings"
)

// The demo federation.
const (
	TrustDomain = "dev.example"
	Zone        = "clusterset.local"

	replicasPerRegion = 3
	dnsBase           = 8600
)

// site is one region of the demo. Its number k counts from 1.
type site struct {
	k       int
	region  string
	cluster string
	// catalog: it also runs shop/catalog.
	catalog bool
}

func sites() []site {
	return []site{
		{1, "us-west", "west-1", true},
		{2, "eu-central", "central-1", true},
		{3, "asia-east", "east-1", false},
	}
}

func zoneOf(n int) string { return string(rune('a' + n%2)) }

// Replica is one agent, as dev.json describes it. Addresses are host:port.
type Replica struct {
	Region string `json:"region"`
	Name   string `json:"name"`
	PID    int    `json:"pid"`
	DNS    string `json:"dns"`
	RPC    string `json:"rpc"`
	Gossip string `json:"gossip"`
	HTTP   string `json:"http"`
	Socket string `json:"socket"`

	site site
	zone string
	dir  string
}

// Endpoint is one demo endpoint, as dev.json describes it. PID is the process of
// all endpoints of its region.
type Endpoint struct {
	Service    string `json:"service"`
	Region     string `json:"region"`
	Zone       string `json:"zone"`
	Cluster    string `json:"cluster"`
	Address    string `json:"address"`
	PID        int    `json:"pid"`
	HealthURL  string `json:"healthURL"`
	FailURL    string `json:"failURL"`
	RecoverURL string `json:"recoverURL"`

	hostname string
}

// ip is the endpoint's address without the port.
func (e *Endpoint) ip() string {
	host, _, _ := strings.Cut(e.Address, ":")
	return host
}

// Plan is the demo federation, and the content of dev.json.
type Plan struct {
	TrustDomain string      `json:"trustDomain"`
	Zone        string      `json:"zone"`
	Replicas    []*Replica  `json:"replicas"`
	Endpoints   []*Endpoint `json:"endpoints"`
}

// NewPlan decides every name and address of a federation in dir. ports are free
// ports: three for every replica, and last the one of all demo endpoints.
func NewPlan(dir string, ports []int) *Plan {
	p := &Plan{TrustDomain: TrustDomain, Zone: Zone}
	local := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	for _, s := range sites() {
		for r := range replicasPerRegion {
			name := fmt.Sprintf("%s-%d", s.region, r)
			data := filepath.Join(dir, s.region, name)
			p.Replicas = append(p.Replicas, &Replica{
				Region: s.region, Name: name, DNS: local(dnsBase + 10*s.k + r),
				RPC: local(ports[0]), Gossip: local(ports[1]), HTTP: local(ports[2]),
				Socket: filepath.Join(data, "federator.sock"), site: s, zone: zoneOf(r), dir: data,
			})
			ports = ports[3:]
		}
		p.addEndpoints(s, ports[len(ports)-1])
	}
	return p
}

// portsNeeded is how many free ports a plan takes.
func portsNeeded() int { return 3*replicasPerRegion*len(sites()) + 1 }

func (p *Plan) addEndpoints(s site, port int) {
	add := func(service string, n int, hostname string) {
		address := fmt.Sprintf("127.10.%d.%d:%d", s.k, n, port)
		p.Endpoints = append(p.Endpoints, &Endpoint{
			Service: service, Region: s.region, Zone: zoneOf(n + 1), Cluster: s.cluster, Address: address, hostname: hostname,
			HealthURL: "http://" + address + "/healthz", FailURL: "http://" + address + "/fail", RecoverURL: "http://" + address + "/recover",
		})
	}
	for n := 1; n <= 3; n++ {
		add("shop/checkout", n, "")
	}
	if s.catalog {
		add("shop/catalog", 11, "")
		add("shop/catalog", 12, "")
	}
	add("shop/ledger", 21, "ledger-0")
	add("shop/ledger", 22, "ledger-1")
}

// in returns the replicas of a region.
func (p *Plan) in(region string) []*Replica {
	var found []*Replica
	for _, r := range p.Replicas {
		if r.Region == region {
			found = append(found, r)
		}
	}
	return found
}

// at returns the endpoints of a region, of one service unless service is "".
func (p *Plan) at(region, service string) []*Endpoint {
	var found []*Endpoint
	for _, e := range p.Endpoints {
		if e.Region == region && (service == "" || e.Service == service) {
			found = append(found, e)
		}
	}
	return found
}

// services renders the services file of a region's cluster.
func (p *Plan) services(s site) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Services of cluster %s. Edit this file: the agents watch it.\n", s.cluster)
	fmt.Fprintf(&b, "clients:\n  - {prefix: 127.10.%d.0/25, zone: a}\n  - {prefix: 127.10.%d.128/25, zone: b}\nservices:\n", s.k, s.k)
	for _, service := range []string{"shop/checkout", "shop/catalog", "shop/ledger"} {
		endpoints := p.at(s.region, service)
		if len(endpoints) == 0 {
			continue
		}
		_, port, _ := strings.Cut(endpoints[0].Address, ":")
		fmt.Fprintf(&b, "  - name: %s\n    headless: %v\n", service, service == "shop/ledger")
		fmt.Fprintf(&b, "    ports: [{name: http, port: %s, appProtocol: http}]\n", port)
		b.WriteString("    check: {http: {path: /healthz}, interval: 500ms, timeout: 500ms, healthyThreshold: 1, unhealthyThreshold: 2}\n    endpoints:\n")
		for _, e := range endpoints {
			fmt.Fprintf(&b, "      - {address: %s, zone: %s%s}\n", e.ip(), e.Zone, hostnameField(e))
		}
	}
	return b.String()
}

func hostnameField(e *Endpoint) string {
	if e.hostname == "" {
		return ""
	}
	return ", hostname: " + e.hostname
}
