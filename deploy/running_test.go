package deploy

import (
	"net"
	"slices"
	"strconv"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// replicas is the template of the pods.
func replicas(t *testing.T) corev1.PodTemplateSpec {
	t.Helper()
	var set appsv1.StatefulSet
	strictly(t, rendered(t, Values{Region: "us-west", Cluster: "west-1"})["StatefulSet/federator"], &set)
	return set.Spec.Template
}

// selects fails the test if the selector is not that of the pods: one that selects
// nothing is accepted by Kubernetes, and does nothing.
func selects(t *testing.T, what string, selector *metav1.LabelSelector) {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil || s.Empty() || !s.Matches(labels.Set(replicas(t).Labels)) {
		t.Errorf("%s: expected the labels %v to be selected, found %v, %v", what, replicas(t).Labels, s, err)
	}
}

func TestReplicasAreSpreadOverNodesAndOverZones(t *testing.T) {
	spread := replicas(t).Spec.TopologySpreadConstraints
	for _, over := range []string{corev1.LabelHostname, corev1.LabelTopologyZone} {
		at := slices.IndexFunc(spread, func(c corev1.TopologySpreadConstraint) bool { return c.TopologyKey == over })
		if at < 0 {
			t.Errorf("expected replicas to be spread over %s, so that the loss of one does not take two: found %+v", over, spread)
			continue
		}
		// A cluster of fewer nodes, or of one zone, has to have its replicas all the same.
		if c := spread[at]; c.MaxSkew != 1 || c.WhenUnsatisfiable != corev1.ScheduleAnyway {
			t.Errorf("%s: expected a skew of 1, and pods where that cannot be, too: found %+v", over, c)
		}
		selects(t, over, spread[at].LabelSelector)
	}
}

func TestAPodIsEndedForItsOwnFaultsOnlyAndGetsQueriesOnceItCanAnswer(t *testing.T) {
	for _, c := range replicas(t).Spec.Containers {
		for _, tt := range []struct {
			name  string
			probe *corev1.Probe
			path  string
			// least and most bound for how long it may fail, in seconds.
			least, most int32
		}{
			{"startup", c.StartupProbe, "/healthz", 60, 300}, // a log of Raft is read first
			{"liveness", c.LivenessProbe, "/healthz", 30, 120},
			{"readiness", c.ReadinessProbe, "/readyz", 1, 15},
		} {
			if tt.probe == nil || tt.probe.HTTPGet == nil {
				t.Errorf("container %s: expected a %s probe by HTTP, found %+v", c.Name, tt.name, tt.probe)
				continue
			}
			port := tt.probe.HTTPGet.Port.String()
			if tt.probe.HTTPGet.Path != tt.path || !slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == port && p.ContainerPort == listening(t).HTTP }) {
				t.Errorf("container %s: expected the %s probe to ask %s where the agent listens for HTTP, found %+v", c.Name, tt.name, tt.path, tt.probe.HTTPGet)
			}
			if fails := tt.probe.PeriodSeconds * tt.probe.FailureThreshold; fails < tt.least || fails > tt.most {
				t.Errorf("container %s: expected the %s probe to count after %d to %d s of failures, found %d s", c.Name, tt.name, tt.least, tt.most, fails)
			}
		}
	}
}

func TestNodesAreDrainedOfOneReplicaAtATime(t *testing.T) {
	var budget policyv1.PodDisruptionBudget
	strictly(t, rendered(t, Values{Region: "us-west", Cluster: "west-1"})["PodDisruptionBudget/federator"], &budget)
	s := budget.Spec
	if s.MaxUnavailable == nil || s.MaxUnavailable.IntValue() != 1 || s.MinAvailable != nil {
		t.Errorf("two of three replicas are a quorum: expected that one may be away, found %+v", s)
	}
	if s.UnhealthyPodEvictionPolicy == nil || *s.UnhealthyPodEvictionPolicy != policyv1.AlwaysAllow {
		t.Errorf("expected that a pod that is not ready holds up no drain, found %+v", s)
	}
	selects(t, "PodDisruptionBudget", s.Selector)
}

// ports are those that the agent of the manifests listens on.
type ports struct{ Peer, Gossip, DNS, HTTP int32 }

func listening(t *testing.T) ports {
	t.Helper()
	c := agentConfig(t)
	number := func(address string) int32 {
		_, text, err := net.SplitHostPort(address)
		n, err2 := strconv.ParseUint(text, 10, 16)
		if err != nil || err2 != nil || n == 0 {
			t.Fatalf("expected the port that the agent listens on, found %q", address)
		}
		return int32(n)
	}
	if len(c.Listen.DNS) != 1 {
		t.Fatalf("expected one address for DNS, found %v", c.Listen.DNS)
	}
	return ports{number(c.Listen.Peer), number(c.Listen.Gossip), number(c.Listen.DNS[0]), number(c.Listen.HTTP)}
}

// admits reports whether a port is among those of a rule.
func admits(list []networkingv1.NetworkPolicyPort, protocol corev1.Protocol, port int32) bool {
	return slices.ContainsFunc(list, func(p networkingv1.NetworkPolicyPort) bool {
		if p.Protocol == nil || *p.Protocol != protocol || p.Port == nil {
			return false
		}
		last := p.Port.IntVal
		if p.EndPort != nil {
			last = *p.EndPort
		}
		return p.Port.IntVal <= port && port <= last
	})
}

// door is a port that a NetworkPolicy is to let through, and why.
type door struct {
	why      string
	protocol corev1.Protocol
	port     int32
}

func networkPolicy(t *testing.T) networkingv1.NetworkPolicySpec {
	t.Helper()
	var policy networkingv1.NetworkPolicy
	strictly(t, rendered(t, Values{Region: "us-west", Cluster: "west-1"})["NetworkPolicy/federator"], &policy)
	return policy.Spec
}

func TestTheNetworkPolicyLetsInWhatTheAgentListensForAndNothingElse(t *testing.T) {
	policy, at := networkPolicy(t), listening(t)
	selects(t, "NetworkPolicy", &policy.PodSelector)
	if !slices.Contains(policy.PolicyTypes, networkingv1.PolicyTypeIngress) {
		t.Errorf("expected it to hold for what comes in, found %v", policy.PolicyTypes)
	}
	doors := []door{
		{"replicas, and pods for their certificates", corev1.ProtocolTCP, at.Peer}, {"gossip", corev1.ProtocolUDP, at.Gossip},
		{"DNS", corev1.ProtocolUDP, at.DNS}, {"DNS over TCP", corev1.ProtocolTCP, at.DNS},
	}
	for _, d := range doors {
		if !slices.ContainsFunc(policy.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool {
			return len(r.From) == 0 && admits(r.Ports, d.protocol, d.port)
		}) {
			t.Errorf("%s: expected %s %d to be let in from everywhere, found %+v", d.why, d.protocol, d.port, policy.Ingress)
		}
	}
	// Metrics are plain HTTP.
	if !slices.ContainsFunc(policy.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool {
		return len(r.From) == 2 && admits(r.Ports, corev1.ProtocolTCP, at.HTTP)
	}) {
		t.Errorf("expected TCP %d to be let in from the own namespace and from those that monitor, found %+v", at.HTTP, policy.Ingress)
	}
	open, want := 0, len(doors)+1
	for _, r := range policy.Ingress {
		open += len(r.Ports)
		if len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.EndPort != nil }) {
			t.Errorf("expected no more than single ports to be let in, found %+v", r)
		}
	}
	if open != want {
		t.Errorf("expected %d ports to be let in, found %d: %+v", want, open, policy.Ingress)
	}
}

func TestTheNetworkPolicyLetsOutWhatTheAgentAsksFor(t *testing.T) {
	policy, at := networkPolicy(t), listening(t)
	if !slices.Contains(policy.PolicyTypes, networkingv1.PolicyTypeEgress) {
		t.Errorf("expected it to hold for what goes out, found %v", policy.PolicyTypes)
	}
	for _, d := range []door{
		{"names", corev1.ProtocolUDP, 53}, {"names over TCP", corev1.ProtocolTCP, 53}, {"gossip", corev1.ProtocolUDP, at.Gossip}, {"replicas", corev1.ProtocolTCP, at.Peer},
		{"the API server", corev1.ProtocolTCP, 443}, {"health checks of any port", corev1.ProtocolTCP, 1}, {"and up to the last", corev1.ProtocolTCP, 65535},
	} {
		if !slices.ContainsFunc(policy.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool {
			return len(r.To) == 0 && admits(r.Ports, d.protocol, d.port)
		}) {
			t.Errorf("%s: expected %s %d to be let out, found %+v", d.why, d.protocol, d.port, policy.Egress)
		}
	}
}

func TestEveryPortThatTheAgentListensOnIsOneOfTheContainer(t *testing.T) {
	at, found := listening(t), map[string]int32{}
	for _, p := range replicas(t).Spec.Containers[0].Ports {
		found[p.Name+"/"+string(p.Protocol)] = p.ContainerPort
	}
	for name, want := range map[string]int32{"peer/TCP": at.Peer, "gossip/UDP": at.Gossip, "dns/UDP": at.DNS, "dns-tcp/TCP": at.DNS, "http/TCP": at.HTTP} {
		if found[name] != want {
			t.Errorf("%s: expected %d, where the agent listens, found %d", name, want, found[name])
		}
	}
}
