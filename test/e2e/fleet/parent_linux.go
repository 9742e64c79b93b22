package fleet

import "syscall"

// withParent puts a child into a process group of its own and has it killed when
// its parent is gone.
func withParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
