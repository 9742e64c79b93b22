// Package e2e tests the built binary from outside: real processes on loopback
// addresses, the real command line, real DNS. Each test is one part of what the
// federation promises, and says which in its name.
//
// With -short only the quickest run. FEDERATOR_BINARY names a binary to test
// instead of building one.
package e2e
