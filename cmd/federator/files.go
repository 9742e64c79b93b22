package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// maxFile bounds a file that is sent to an agent, in bytes.
const maxFile = 4 << 20

// readFile reads a file, or standard input for "-".
func (a *app) readFile(path string) (b []byte, err error) {
	if path == "-" {
		b, err = io.ReadAll(io.LimitReader(a.in, maxFile+1))
	} else {
		var f *os.File
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
		b, err = io.ReadAll(io.LimitReader(f, maxFile+1))
		err = errors.Join(err, f.Close())
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", path, err)
	case len(b) > maxFile:
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return b, nil
}
