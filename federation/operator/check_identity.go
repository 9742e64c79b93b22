package operator

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/federator/federator/identity"
)

// caNotice is how long before the end of a CA certificate it is named.
const caNotice = 30 * 24 * time.Hour

// checkCertificates reports certificates that end, and renewals that fail.
func (v *view) checkCertificates() []problem {
	var out []problem
	renewal := v.renewal
	left := renewal.NotAfter.Sub(v.now)
	p := problem{subject: "certificate of " + v.self.Name, expected: "renewed at half of its life",
		action: "is a voter of the region running and unsealed? See the other problems, and the agent's log; the replica renews by itself as soon as it can"}
	switch {
	case renewal.NotAfter.IsZero():
		p.severity, p.code, p.found = severe, "certificate-missing", "there is none"
	case left <= 0:
		p.severity, p.code, p.found, p.since = severe, "certificate-expired", "expired "+about(-left).String()+" ago", renewal.NotAfter
	case left < renewal.Life/4:
		p.severity, p.code, p.found = warning, "certificate-expiring", about(left).String()+" left"
	case renewal.Failures > 0:
		p.severity, p.code, p.found = warning, "renewal-failing", fmt.Sprintf("%d attempts failed, %s left", renewal.Failures, about(left))
	}
	if p.code != "" {
		if renewal.LastError != nil {
			p.found += ": " + renewal.LastError.Error()
		}
		out = append(out, p)
	}
	if len(v.chain) == 3 { // leaf, intermediate, root
		out = append(out, v.checkCA("intermediate", v.chain[1].NotAfter)...)
		out = append(out, v.checkCA("root", v.chain[2].NotAfter)...)
	}
	return out
}

// checkPods reports that the pods of the own cluster cannot prove themselves.
func (v *view) checkPods() []problem {
	if v.unattested == nil {
		return nil
	}
	return []problem{{severity: warning, code: "pods-unattested", subject: "pods of cluster " + v.self.Cluster, since: v.unattestedSince,
		expected: "tokens that the API server reviews", found: v.unattested.Error(),
		action: "see to the API server, or to what the service account of federator may do; pods try again by themselves, and have what is left of their certificates' life"}}
}

func (v *view) checkCA(name string, until time.Time) []problem {
	left := until.Sub(v.now)
	if left > caNotice {
		return nil
	}
	p := problem{severity: warning, code: name + "-expiring", subject: "the " + name + " certificate of " + v.us(),
		expected: "more than 30 days left", found: about(left).String() + " left", action: "rotate it before it ends: nothing that it signed outlives it"}
	if left <= 0 {
		p.severity, p.found, p.since = severe, "expired "+about(-left).String()+" ago", until
	}
	return []problem{p}
}

// checkTrust compares the trust list in force here with the published one.
func (v *view) checkTrust() []problem {
	p := problem{severity: severe, code: "trust-list", subject: "trust list of " + v.self.Name}
	switch {
	case v.trust.Sequence == 0:
		p.expected, p.found = "a signed trust list", "none: nobody can be trusted"
		p.action = "restore identity/trust.list of the data directory, or join anew"
	case v.trusted > v.trust.Sequence:
		p.severity = warning
		p.expected, p.found = fmt.Sprintf("list %d, which the authority region publishes", v.trusted), fmt.Sprintf("list %d", v.trust.Sequence)
		p.action = "see the agent's log for why the newer one was not taken"
	case !slices.ContainsFunc(v.trust.Intermediates, func(i identity.ListedIntermediate) bool { return i.Region == v.self.Region }):
		p.expected, p.found = "the CA of this region among the valid ones", "it is not listed: other regions refuse this one's replicas"
		p.action = "is the region a member? See federator status; the authority region lists it when it registers its CA"
		if v.trustRevokes(v.self.Region) {
			p.code, p.subject = "region-removed", v.us()
			p.expected, p.found = "a member of the federation", "the trust list revokes its CA, because the region was removed"
			p.action = v.rejoining() + "; until then it serves its own clients only"
		}
	default:
		return nil
	}
	return []problem{p}
}

// trustRevokes reports whether the whole region was revoked.
func (v *view) trustRevokes(region string) bool {
	return slices.ContainsFunc(v.trust.Revoked, func(r identity.Revocation) bool {
		return r.Region == region && r.ID == "" && r.Serial == ""
	})
}

// checkSecrets reports secrets that this replica should be able to open and
// cannot. The certificate authorities are for voters only.
func (v *view) checkSecrets() []problem {
	votes := false
	if me := v.sibling(v.self.Name); me != nil {
		votes = me.role == "voter" || me.role == "leader"
	}
	var out []problem
	for _, secret := range v.secrets {
		err := v.locked[secret.Name]
		if err == nil || errors.Is(err, identity.ErrNotRecipient) && !votes {
			continue
		}
		p := problem{severity: severe, code: "secret-locked", subject: "secret " + secret.Name, expected: "unsealed with this replica's key", found: err.Error(),
			action: "is this the data directory it joined with? If its seal key is lost: federator leave, and join anew"}
		if errors.Is(err, identity.ErrNotRecipient) { // a voter that is new, most likely
			p.severity, p.action = warning, "the leader seals it anew within seconds; if this stays, look at the leader's log"
		}
		out = append(out, p)
	}
	return out
}
