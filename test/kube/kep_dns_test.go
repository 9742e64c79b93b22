//go:build linux

package kube_test

import (
	"net/netip"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

func dnsOfClustersetIP(x *scene) {
	x.put(west, "web", served(corev1.ServicePort{Name: "http", Port: 80}, corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}), "10.0.0.1")
	x.put(west, "unnamed", served(corev1.ServicePort{Port: 80}), "10.0.0.1")
	x.export(west, "web")
	x.export(west, "unnamed")
	for _, region := range everywhere() {
		name, ips := x.domain("web"), map[uint16][]string{}
		for _, ip := range x.imported(region, "web", west).Spec.IPs {
			family := dns.TypeA
			if netip.MustParseAddr(ip).Is6() {
				family = dns.TypeAAAA
			}
			ips[family] = append(ips[family], dns.TypeToString[family]+" "+ip)
		}
		x.imported(region, "unnamed", west)
		x.answers(region, name, dns.TypeA, dns.RcodeSuccess, ips[dns.TypeA]...)
		x.answers(region, name, dns.TypeAAAA, dns.RcodeSuccess, ips[dns.TypeAAAA]...) // none where the cluster has no IPv6
		x.answers(region, x.domain("_http._tcp.web"), dns.TypeSRV, dns.RcodeSuccess, "SRV 80 "+name)
		x.answers(region, x.domain("_dns._udp.web"), dns.TypeSRV, dns.RcodeSuccess, "SRV 53 "+name)
		x.answers(region, x.domain("_http._udp.web"), dns.TypeSRV, dns.RcodeNameError)
		x.answers(region, x.domain("_80._tcp.unnamed"), dns.TypeSRV, dns.RcodeNameError)
		x.answers(region, x.domain("us-west-1.web"), dns.TypeA, dns.RcodeNameError) // no cluster is asked for alone
		x.answers(region, x.domain("nobody"), dns.TypeA, dns.RcodeNameError)
		x.answers(region, "dns-version.clusterset.local.", dns.TypeTXT, dns.RcodeSuccess, `TXT "1.0.0"`)
	}
}

// database is a headless Service with two ports.
func database() corev1.ServiceSpec {
	spec := served(corev1.ServicePort{Name: "sql", Port: 5432}, corev1.ServicePort{Name: "admin", Port: 81})
	spec.ClusterIP = corev1.ClusterIPNone
	return spec
}

func headless(x *scene) {
	x.put(west, "db", database(), "db-0=10.0.0.1", "db-1=10.0.0.2", "db-2=10.0.0.3!")
	x.put(eu, "db", database(), "db-0=10.1.0.1")
	x.export(west, "db")
	x.export(eu, "db")
	for _, region := range everywhere() {
		if i := x.imported(region, "db", west, eu); i.Spec.Type != mcs.Headless || len(i.Spec.IPs) != 0 {
			x.Errorf("%s: expected a headless import without an IP, found %+v", region, i.Spec)
		}
		x.lists(region, "db", "eu-central db-0=10.1.0.1", "us-west db-0=10.0.0.1", "us-west db-1=10.0.0.2", "us-west db-2=10.0.0.3!")
	}
}

func dnsOfHeadless(x *scene) {
	x.put(west, "db", database(), "db-0=10.0.0.1", "db-1=10.0.0.2", "db-2=10.0.0.3!", "db-0=fd00:1::1")
	x.put(eu, "db", database(), "db-0=10.1.0.1")
	x.export(west, "db")
	x.export(eu, "db")
	for _, region := range everywhere() {
		x.imported(region, "db", west, eu)
		x.answers(region, x.domain("db"), dns.TypeA, dns.RcodeSuccess, "A 10.0.0.1", "A 10.0.0.2", "A 10.1.0.1")
		x.answers(region, x.domain("db"), dns.TypeAAAA, dns.RcodeSuccess, "AAAA fd00:1::1")
		x.answers(region, x.domain("db-0.us-west-1.db"), dns.TypeA, dns.RcodeSuccess, "A 10.0.0.1")
		x.answers(region, x.domain("db-0.us-west-1.db"), dns.TypeAAAA, dns.RcodeSuccess, "AAAA fd00:1::1")
		x.answers(region, x.domain("db-0.eu-central-1.db"), dns.TypeA, dns.RcodeSuccess, "A 10.1.0.1")
		for p, number := range map[string]string{"_sql": "5432", "_admin": "81"} {
			x.answers(region, x.domain(p+"._tcp.db"), dns.TypeSRV, dns.RcodeSuccess,
				"SRV "+number+" "+x.domain("db-0.us-west-1.db"), "SRV "+number+" "+x.domain("db-1.us-west-1.db"), "SRV "+number+" "+x.domain("db-0.eu-central-1.db"))
		}
		x.answers(region, x.domain("us-west-1.db"), dns.TypeA, dns.RcodeSuccess) // only leads to others
		x.answers(region, x.domain("db-9.us-west-1.db"), dns.TypeA, dns.RcodeNameError)
		x.answers(region, x.domain("db-0.mars-1.db"), dns.TypeA, dns.RcodeNameError)
	}
	x.back(west, "db", database().Ports)
	x.back(eu, "db", database().Ports)
	for _, region := range everywhere() {
		x.answers(region, x.domain("db"), dns.TypeA, dns.RcodeNameError) // as it has no ready endpoint
	}
}
