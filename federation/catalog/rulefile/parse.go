// Package rulefile reads export rules from YAML, strictly: every mistake is
// reported with its line, all at once, and nothing is taken from a file that has
// any. A file holds one or more documents:
//
//	kind: ExportRule
//	name: payments
//	spec:
//	  services: [payments/*]               # NAMESPACE/NAME, with one '*' in each
//	  clusters: [us-1, "eu-*", region:us-west]
//
// The fields of spec are those of [catalog.ExportRule]; both have to be given, an
// empty list of clusters refuses all of them. The package does no I/O.
package rulefile

import (
	"github.com/federator/federator/federation/catalog"
	"github.com/federator/federator/strictyaml"
)

// Named is one document of a file of export rules.
type Named = strictyaml.Named[catalog.ExportRule]

// Parse reads a file of export rules. The rules are valid (see
// [catalog.ValidateExportRule]), at least one, in the order of the file, each name
// once. The error joins every mistake that was found, one per line.
func Parse(data []byte) ([]Named, error) {
	return strictyaml.Documents(data, strictyaml.Form[catalog.ExportRule]{
		Kind: "ExportRule", One: "export rule", Many: "export rules",
		Validate: catalog.ValidateExportRule, Required: []string{"services", "clusters"},
	})
}
