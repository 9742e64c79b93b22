//go:build linux

package kube_test

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// having waits for an import with exactly these ports.
func having(x *scene, region, name string, want ...mcs.ServicePort) {
	x.Helper()
	x.importedAs(region, name, func(i *mcs.ServiceImport) error {
		same := func(a, b mcs.ServicePort) bool {
			return a.Name == b.Name && a.Protocol == b.Protocol && a.Port == b.Port && deref(a.AppProtocol) == deref(b.AppProtocol)
		}
		if !slices.EqualFunc(i.Spec.Ports, want, same) {
			return fmt.Errorf("expected the ports %+v, found %+v", want, i.Spec.Ports)
		}
		return nil
	})
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func port(name string, number int32) mcs.ServicePort {
	return mcs.ServicePort{Name: name, Port: number, Protocol: corev1.ProtocolTCP}
}

func ports(x *scene) {
	h2c := "kubernetes.io/h2c"
	x.put(west, "named", served(corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, corev1.ServicePort{Name: "http", Port: 80, AppProtocol: &h2c}), "10.0.0.1")
	x.put(west, "unnamed", served(corev1.ServicePort{Port: 8080}), "10.0.0.1")
	for _, name := range []string{"named", "unnamed"} {
		x.export(west, name)
	}
	http := port("http", 80)
	http.AppProtocol = &h2c
	for _, region := range everywhere() {
		having(x, region, "named", mcs.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, http)
		having(x, region, "unnamed", port("", 8080))
	}
}

func sticky(seconds int32) corev1.ServiceSpec {
	spec := web()
	spec.SessionAffinity = corev1.ServiceAffinityClientIP
	spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	return spec
}

// sticking waits for an import with that session affinity, 0 for none.
func sticking(x *scene, region, name string, seconds int32) {
	x.Helper()
	x.importedAs(region, name, func(i *mcs.ServiceImport) error {
		c := i.Spec.SessionAffinityConfig
		none := i.Spec.SessionAffinity == corev1.ServiceAffinityNone && c == nil
		if seconds == 0 && !none || seconds > 0 && (i.Spec.SessionAffinity != corev1.ServiceAffinityClientIP || c == nil || *c.ClientIP.TimeoutSeconds != seconds) {
			return fmt.Errorf("expected a session affinity of %d s, found %s %+v", seconds, i.Spec.SessionAffinity, c)
		}
		return nil
	})
}

func affinity(x *scene) {
	x.put(west, "sticky", sticky(600), "10.0.0.1")
	x.put(west, "loose", web(), "10.0.0.1")
	x.export(west, "sticky")
	x.export(west, "loose")
	sticking(x, eu, "sticky", 600)
	sticking(x, eu, "loose", 0)
}

func serviceTypes(x *scene) {
	for name, kind := range map[string]corev1.ServiceType{"node": corev1.ServiceTypeNodePort, "balancer": corev1.ServiceTypeLoadBalancer} {
		spec := web()
		spec.Type = kind
		x.put(west, name, spec, "10.0.0.1")
		x.export(west, name)
		if i := x.imported(eu, name, west); i.Spec.Type != mcs.ClusterSetIP {
			x.Errorf("%s: expected ClusterSetIP, found %s", kind, i.Spec.Type)
		}
	}
}

func invalid(x *scene) {
	x.put(west, "elsewhere", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"})
	for name, reason := range map[string]string{"elsewhere": "InvalidServiceType", "missing": "NoService"} {
		x.export(west, name)
		x.says(west, name, "Valid=False "+reason)
	}
	// What is exported after them is imported everywhere, and they are not.
	x.put(west, "after", web(), "10.0.0.9")
	x.export(west, "after")
	for _, region := range everywhere() {
		x.imported(region, "after", west)
	}
	for _, name := range []string{"elsewhere", "missing"} {
		x.absent(name, everywhere()...)
	}
	x.put(west, "missing", web(), "10.0.0.1")
	x.says(west, "missing", "Valid=True Valid")
	x.says(west, "missing", "Ready=True Exported")
	x.imported(eu, "missing", west)
}

// disagreement is what two clusters say of a service, and what the third is to see:
// holds while both export it, then once the older export is gone.
type disagreement struct {
	name, reason   string
	older, younger corev1.ServiceSpec
	holds, then    func(string)
	// more are endpoints that only the younger has.
	more []string
	// exports are the specs of the exports, the older's first; nil: both are empty.
	exports []mcs.ServiceExportSpec
}

// exported is the spec of one of the exports.
func (d *disagreement) exported(n int) mcs.ServiceExportSpec {
	if n < len(d.exports) {
		return d.exports[n]
	}
	return mcs.ServiceExportSpec{}
}

func disagreements(x *scene) []disagreement {
	h2c := "kubernetes.io/h2c"
	none := web()
	none.ClusterIP = corev1.ClusterIPNone
	http := port("http", 80)
	spoken := http
	spoken.AppProtocol = &h2c
	typed := func(want mcs.ServiceImportType) func(string) {
		return func(name string) {
			x.importedAs(asia, name, func(i *mcs.ServiceImport) error {
				if i.Spec.Type != want {
					return fmt.Errorf("expected %s, found %s", want, i.Spec.Type)
				}
				return nil
			})
		}
	}
	with := func(ports ...mcs.ServicePort) func(string) {
		return func(name string) { having(x, asia, name, ports...) }
	}
	stuck := func(seconds int32) func(string) { return func(name string) { sticking(x, asia, name, seconds) } }
	return append(carriedDisagreements(x), []disagreement{
		{"number", "PortConflict", web(), served(corev1.ServicePort{Name: "http", Port: 8080}), with(http), with(port("http", 8080)), nil, nil},
		{"called", "PortConflict", web(), served(corev1.ServicePort{Name: "web", Port: 80}), with(http), with(port("web", 80)), nil, nil},
		{"spoken", "PortConflict", web(), served(corev1.ServicePort{Name: "http", Port: 80, AppProtocol: &h2c}), with(http), with(spoken), nil, nil},
		{"union", "PortConflict", web(), served(corev1.ServicePort{Name: "http", Port: 80}, corev1.ServicePort{Name: "more", Port: 81}), with(http, port("more", 81)), with(http, port("more", 81)), nil, nil},
		{"type", "TypeConflict", web(), none, typed(mcs.ClusterSetIP), typed(mcs.Headless), nil, nil},
		{"headless", "TypeConflict", none, web(), typed(mcs.Headless), typed(mcs.ClusterSetIP), nil, nil},
		{"affinity", "SessionAffinityConflict", sticky(600), web(), stuck(600), stuck(0), nil, nil},
		{"timeout", "SessionAffinityConfigConflict", sticky(600), sticky(60), stuck(600), stuck(60), nil, nil},
		{"families", "IPFamilyConflict", web(), web(), with(http), with(http), []string{"fd00:2::1"}, nil},
		{"same", "", web(), web(), with(http), with(http), nil, nil},
	}...)
}

// conflicts has us-west export first, eu-central export something else, and us-west
// export no more; asia-east sees what holds.
func conflicts(x *scene) {
	cases, last := disagreements(x), time.Time{}
	for _, c := range cases {
		x.put(west, c.name, c.older, "10.0.0.1")
		last = x.exportAs(west, c.name, c.exported(0))
	}
	x.older(last)
	for _, c := range cases {
		x.put(eu, c.name, c.younger, append(c.more, "10.1.0.1")...)
		x.exportAs(eu, c.name, c.exported(1))
	}
	for _, c := range cases {
		for _, region := range []string{west, eu} {
			if c.reason == "" {
				x.says(region, c.name, "Conflict=False NoConflicts")
			} else {
				x.says(region, c.name, "Conflict=True "+c.reason)
			}
		}
		x.imported(asia, c.name, west, eu)
		c.holds(c.name)
	}
	for _, c := range cases {
		x.unexport(west, c.name)
	}
	for _, c := range cases {
		x.says(eu, c.name, "Conflict=False NoConflicts")
		c.then(c.name)
	}
}

func portUnion(x *scene) {
	for i, spec := range []corev1.ServiceSpec{
		web(), served(corev1.ServicePort{Name: "http", Port: 8000}, corev1.ServicePort{Name: "grpc", Port: 90}),
	} {
		region := []string{west, eu}[i]
		x.put(region, "web", spec, fmt.Sprintf("10.%d.0.1", i))
		x.older(x.export(region, "web"))
	}
	for _, region := range everywhere() {
		having(x, region, "web", port("grpc", 90), port("http", 80))
		x.await("the ports of the import in "+region+" to lead to who exposes them", func() error {
			all, err := x.slices(region, "web")
			got := []string{}
			for _, s := range all {
				for _, p := range s.Ports {
					got = append(got, fmt.Sprintf("%s:%d %s", *p.Name, *p.Port, s.Endpoints[0].Addresses[0]))
				}
			}
			slices.Sort(got)
			// 8000 lost against the older 80, also where it would be the nearest.
			if want := []string{"grpc:90 10.1.0.1", "http:80 10.0.0.1"}; err == nil && !slices.Equal(got, want) {
				err = fmt.Errorf("found %v", got)
			}
			return err
		})
	}
}
