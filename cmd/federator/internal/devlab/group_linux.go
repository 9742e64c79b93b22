package devlab

import "syscall"

// ownGroup puts a child into a process group of its own, so that Ctrl-C reaches
// the parent only, and has it killed when its parent is gone.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
