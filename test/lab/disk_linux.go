package lab

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// smallDisk makes a file system in memory with so many MiB, and a symbolic link
// to it. It has no mount point: it is reached through a descriptor of this
// process, and gone when nobody has that or a file of it open, so that a crash
// leaves nothing.
func smallDisk(at string, mebibytes int) (release func() error, err error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("a small file system: %w", err)
	}
	err = errors.Join(unix.FsconfigSetString(fs, "size", fmt.Sprintf("%dm", mebibytes)), unix.FsconfigSetString(fs, "mode", "0700"), unix.FsconfigCreate(fs))
	mount := -1
	if err == nil {
		mount, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	}
	if err = errors.Join(err, unix.Close(fs)); err != nil {
		return nil, fmt.Errorf("a small file system: %w", err)
	}
	if err := os.Symlink(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), mount), at); err != nil {
		return nil, errors.Join(err, unix.Close(mount))
	}
	return func() error { return errors.Join(os.Remove(at), unix.Close(mount)) }, nil
}
