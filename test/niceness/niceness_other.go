//go:build !linux

package niceness

// Favour changes nothing here.
func Favour() {}

// Ordinarily runs f.
func Ordinarily(f func() error) error { return f() }
