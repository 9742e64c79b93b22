// Command kind makes three clusters with kind, puts the images on their nodes, has
// their pods reach each other, runs the tests of test/clusters on them, and deletes
// them again: make e2e-kind. See README.md.
package main
