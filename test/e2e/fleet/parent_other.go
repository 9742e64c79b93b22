//go:build !linux

package fleet

import "syscall"

// withParent puts a child into a process group of its own.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
