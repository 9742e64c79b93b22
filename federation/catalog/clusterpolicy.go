package catalog

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// KindClusterPolicy is the kind of policies that users of a Kubernetes cluster
// write for services of their namespace. Spec is a [ClusterPolicy], named by its
// [PolicyOrigin].
const KindClusterPolicy ObjectKind = "clusterpolicy"

const (
	// MaxOriginName bounds the last part of a [PolicyOrigin], in bytes, and MaxOrigin
	// all of it: regions refuse the longer names of objects.
	MaxOriginName = 63
	MaxOrigin     = 253
	// MaxClusterPolicy bounds the JSON of a [ClusterPolicy], in bytes: half of what
	// regions take of an object.
	MaxClusterPolicy = MaxSpec / 2
)

// PolicyOrigin identifies a policy that comes from a cluster.
type PolicyOrigin struct {
	Cluster   string `json:"cluster"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String returns "cluster/namespace/name", the name of its object.
func (o PolicyOrigin) String() string { return o.Cluster + "/" + o.Namespace + "/" + o.Name }

// Compare orders origins by cluster, namespace and name.
func (o PolicyOrigin) Compare(p PolicyOrigin) int {
	return cmp.Or(strings.Compare(o.Cluster, p.Cluster), strings.Compare(o.Namespace, p.Namespace), strings.Compare(o.Name, p.Name))
}

// Key is the key of its object.
func (o PolicyOrigin) Key() ObjectKey { return ObjectKey{KindClusterPolicy, o.String()} }

// ParsePolicyOrigin reads what [PolicyOrigin.String] wrote. The name may be a DNS
// subdomain of up to [MaxOriginName] bytes.
func ParsePolicyOrigin(s string) (PolicyOrigin, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 || len(s) > MaxOrigin {
		return PolicyOrigin{}, fmt.Errorf("policy %.100q: expected CLUSTER/NAMESPACE/NAME of at most %d bytes together", s, MaxOrigin)
	}
	o := PolicyOrigin{parts[0], parts[1], parts[2]}
	labels := strings.Split(o.Name, ".")
	if len(o.Name) > MaxOriginName || slices.ContainsFunc(labels, func(l string) bool { return !isLabel(l) }) {
		return o, fmt.Errorf("policy %.100q: expected a name of DNS labels joined by dots, of at most %d bytes", s, MaxOriginName)
	}
	return o, cmp.Or(ValidateCluster(o.Cluster), ValidateLabel("namespace", o.Namespace))
}

// ClusterPolicy is a policy for one service of the namespace that it comes from.
type ClusterPolicy struct {
	// Service is the name of the service, without the namespace.
	Service string `json:"service"`
	// CreatedAt is when it was made, by the clock of its cluster's API server: of
	// several for one service the oldest counts.
	CreatedAt time.Time `json:"createdAt"`
	Policy    Policy    `json:"policy"`
}

// PolicyClaim is a policy of a cluster, as one object of the federation says it.
type PolicyClaim struct {
	PolicyOrigin
	ClusterPolicy
	// Region wrote it.
	Region string
}

// About is the service that it is for.
func (c *PolicyClaim) About() ServiceName { return ServiceName{c.Namespace, c.Service} }

// older orders claims by which counts.
func (c *PolicyClaim) older(o *PolicyClaim) int {
	return cmp.Or(c.CreatedAt.Compare(o.CreatedAt), c.PolicyOrigin.Compare(o.PolicyOrigin))
}

// ReadClusterPolicy reads the spec of an object that is not deleted.
func ReadClusterPolicy(o *Object) (PolicyClaim, error) {
	c := PolicyClaim{Region: o.Version.Region}
	var err error
	if c.PolicyOrigin, err = ParsePolicyOrigin(o.Name); err != nil {
		return c, err
	}
	if err = json.Unmarshal(o.Spec, &c.ClusterPolicy); err != nil {
		return c, err
	}
	return c, c.About().Validate()
}

// Standing is what has become of a [PolicyClaim].
type Standing string

// The standings.
const (
	// StandsInForce: it decides how its service is resolved.
	StandsInForce Standing = "in force"
	// StandsBehindOperator: an operator's policy for the service comes first.
	StandsBehindOperator Standing = "behind an operator's policy"
	// StandsBehindOlder: an older one for the service counts; see
	// [PolicyStanding.Winner].
	StandsBehindOlder Standing = "behind an older policy"
	// StandsRefused: the export rules do not let the cluster export the service, so it
	// does not speak for it either; see [PolicyStanding.Rules].
	StandsRefused Standing = "refused"
	// StandsForeign: the region that wrote it does not own the cluster, or not any
	// more.
	StandsForeign Standing = "foreign"
)

// PolicyStanding is a claim and what has become of it.
type PolicyStanding struct {
	PolicyClaim
	Standing Standing
	Winner   PolicyOrigin
	// Rules are the export rules that name the service, where it is refused.
	Rules []string
}

// PolicyLaw is what decides between claims.
type PolicyLaw struct {
	// Owns reports whether a cluster is the region's.
	Owns func(region, cluster string) bool
	// Refuses returns the export rules that keep a cluster from speaking for a
	// service; none if it may.
	Refuses func(region, cluster string, service ServiceName) []string
	// Operator reports whether operators wrote a policy for the service.
	Operator func(ServiceName) bool
}

// JudgePolicies says what becomes of claims: of those about one service that their
// clusters may make, the oldest is in force, unless operators have spoken. The
// order of the claims does not matter. The result is ordered by origin.
func JudgePolicies(claims []PolicyClaim, law PolicyLaw) []PolicyStanding {
	out := make([]PolicyStanding, len(claims))
	oldest := map[ServiceName]*PolicyStanding{}
	for i := range claims {
		p := &out[i]
		p.PolicyClaim = claims[i]
		about := p.About()
		if !law.Owns(p.Region, p.Cluster) {
			p.Standing = StandsForeign
			continue
		}
		if p.Rules = law.Refuses(p.Region, p.Cluster, about); len(p.Rules) > 0 {
			p.Standing = StandsRefused
			continue
		}
		if best := oldest[about]; best == nil || p.older(&best.PolicyClaim) < 0 {
			oldest[about] = p
		}
	}
	for i := range out {
		p := &out[i]
		best := oldest[p.About()]
		switch {
		case p.Standing != "":
		case law.Operator(p.About()):
			p.Standing = StandsBehindOperator
		case p == best:
			p.Standing = StandsInForce
		default:
			p.Standing, p.Winner = StandsBehindOlder, best.PolicyOrigin
		}
	}
	slices.SortFunc(out, func(a, b PolicyStanding) int { return a.PolicyOrigin.Compare(b.PolicyOrigin) })
	return out
}

// policyBook is what is known of the policies of clusters.
type policyBook struct {
	standings []PolicyStanding
	parsed    map[sighting]*PolicyClaim // nil what cannot be read
}

// read returns the claims that the objects make; what was parsed before is not
// parsed again.
func (b *policyBook) read(objects []*Object) []PolicyClaim {
	parsed := map[sighting]*PolicyClaim{}
	var claims []PolicyClaim
	for _, o := range objects {
		if o.Kind != KindClusterPolicy || o.Deleted {
			continue
		}
		id := sighting{o.ObjectKey, o.Version}
		claim, known := b.parsed[id]
		if !known {
			if c, err := ReadClusterPolicy(o); err == nil {
				claim = &c
			}
		}
		parsed[id] = claim
		if claim != nil {
			claims = append(claims, *claim)
		}
	}
	b.parsed = parsed
	return claims
}

// noteClusterPolicies puts the policies of clusters beside those of operators, which
// are there already.
func (c *Catalog) noteClusterPolicies(objects []*Object, cond *Conditions) {
	claims := c.policies.read(objects)
	c.policies.standings = nil
	if len(claims) == 0 {
		return
	}
	operators := make(map[string]bool, len(cond.Policies))
	for name := range cond.Policies {
		operators[name] = true
	}
	c.policies.standings = JudgePolicies(claims, PolicyLaw{
		Owns: c.mayWrite,
		Refuses: func(region, cluster string, service ServiceName) []string {
			return c.rules.refusing(c.rules.naming(service), region, cluster)
		},
		Operator: func(service ServiceName) bool { return operators[service.String()] },
	})
	for i := range c.policies.standings {
		if p := &c.policies.standings[i]; p.Standing == StandsInForce {
			name := p.About().String()
			cond.Policies[name] = p.Policy
			if cond.PolicyOrigins == nil {
				cond.PolicyOrigins = map[string]PolicyOrigin{}
			}
			cond.PolicyOrigins[name] = p.PolicyOrigin
		}
	}
}

// ClusterPolicies returns what has become of the policies of all clusters, ordered
// by origin. A watch tells of changes as of conditions.
func (c *Catalog) ClusterPolicies() []PolicyStanding {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.policies.standings)
}
