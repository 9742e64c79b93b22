package operator

import "time"

// MissingRight is something that an API server does not allow to this replica.
type MissingRight struct {
	// Right says what, in words: verb, resource and API group.
	Right string
	// Where is the namespace and the name that it was asked for; "" for all.
	Where string
	// Role is the object of the manifests that grants it.
	Role  string
	Since time.Time
}

// checkRights reports what the API server of the own Kubernetes cluster does not
// allow to this replica and should.
func (v *view) checkRights() []problem {
	var out []problem
	for _, r := range v.rights {
		found := "the API server refuses it"
		if r.Where != "" {
			found += " for " + r.Where
		}
		out = append(out, problem{severe, "kubernetes-rights", r.Right, "that the service account of this replica may " + r.Right, found,
			"grant it in " + r.Role + ", or apply the manifests of this release anew (federator manifests); it is taken up by itself", r.Since})
	}
	return out
}
