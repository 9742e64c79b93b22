package policyfile

import (
	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/locality"
	"github.com/federator/federator/strictyaml"
)

// NamedPolicy is one document of a policies file. Its name is "default" or the
// "namespace/name" of a service.
type NamedPolicy = strictyaml.Named[catalog.Policy]

// ParsePolicies reads a policies file. The policies are valid (see
// [locality.ValidatePolicy]), at least one, in the order of the file, each name
// once. The error joins every mistake that was found, one per line.
func ParsePolicies(data []byte) ([]NamedPolicy, error) {
	return strictyaml.Documents(data, strictyaml.Form[catalog.Policy]{
		Kind: "Policy", One: "policy", Many: "policies", Validate: locality.ValidatePolicy,
	})
}
