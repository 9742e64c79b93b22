package network

import (
	"os/exec"
	"syscall"
)

// ofHost puts a command into a process group of its own and has it killed when
// the thread that started it, which is its host's, is gone.
func ofHost(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
}
