//go:build !linux

package devlab

import "syscall"

// ownGroup puts a child into a process group of its own, so that Ctrl-C reaches
// the parent only.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
