// Package reap sees to it that no file of a test outlives it, even one that is
// killed.
package reap

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// reapVariable tells the test binary that it is the child of [Files], and what to
// remove.
const reapVariable = "FEDERATOR_LAB_REAP"

// Files makes a directory for temporary files, has all be made there, and starts a
// child that removes it when end is closed, which is at the latest when this
// process is gone, however it went. Call [Child] first.
func Files() (dir string, end io.Closer, err error) {
	dir, err = os.MkdirTemp("", "fedlab-")
	if err != nil {
		return "", nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), reapVariable+"="+dir)
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that Ctrl-C is not for it
	end, err = child.StdinPipe()                            // never written to
	if err != nil {
		return "", nil, err
	}
	if err := child.Start(); err != nil {
		return "", nil, fmt.Errorf("start what removes %s in the end: %w", dir, err)
	}
	return dir, end, os.Setenv("TMPDIR", dir)
}

// Child reports whether this process is the child of [Files]; if so it has done
// its work when it returns.
func Child() bool {
	dir := os.Getenv(reapVariable)
	if dir == "" {
		return false
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is gone
	// Agents of the parent are being killed, and may yet write.
	for range 50 {
		if os.RemoveAll(dir) == nil {
			if _, err := os.Stat(dir); os.IsNotExist(err) {
				break
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return true
}
